"""API keys: `mk_<key id>_<secret>`; of the secret, 256 random bits, only the SHA-256 is ever stored.

A fast hash is right here: nobody can search 2**256 secrets, whatever a guess costs. Passwords are never used.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime

from maestro.core.errors import Unauthenticated
from maestro.core.model import Model, Time, format_time
from maestro.core.principals import Principal

_TOKEN = re.compile(r"mk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)
_NOBODY = "sha256:" + "0" * 64
_REMEDY = "use a key that is in force (maestro keys mint)"


@dataclass(frozen=True)
class Credential:
    """A key as its owner holds it; its text form never shows the secret."""

    key_id: str
    secret: str = field(repr=False)

    @classmethod
    def mint(cls) -> Credential:
        """A new one, from the system's random source."""
        return cls(secrets.token_hex(8), secrets.token_urlsafe(32))

    @classmethod
    def parse(cls, token: str) -> Credential:
        """Split a token.

        Raises:
            Unauthenticated: it does not look like one.
        """
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise Unauthenticated("the credential is not a Maestro key", remedy=_REMEDY)
        return cls(match[1], match[2])

    @property
    def token(self) -> str:
        """What is sent as `Authorization: Bearer`."""
        return f"mk_{self.key_id}_{self.secret}"

    @property
    def secret_hash(self) -> str:
        """What is stored."""
        return "sha256:" + hashlib.sha256(self.secret.encode()).hexdigest()


class KeyVerifier(Model):
    """What it takes to recognise a key: whose it is, its secret's hash, and until when it counts."""

    key_id: str
    secret_hash: str
    principal: Principal
    expires: Time | None = None
    revoked: Time | None = None
    disabled: Time | None = None


def recognise(credential: Credential, verifier: KeyVerifier | None, at: datetime) -> Principal:
    """The principal whose key this is.

    The secrets are compared in constant time, with a dummy when the key is unknown; that a key expired or was revoked is told only to whoever
    holds its secret.

    Raises:
        Unauthenticated: the key is unknown or wrong, expired, revoked, or its principal is disabled.
    """
    right = hmac.compare_digest(credential.secret_hash, verifier.secret_hash if verifier is not None else _NOBODY)
    if verifier is None or not right:
        raise Unauthenticated("the key is not known", remedy=_REMEDY)
    if verifier.revoked is not None and at >= verifier.revoked:
        raise Unauthenticated(f"key {verifier.key_id} was revoked at {format_time(verifier.revoked)}", remedy=_REMEDY)
    if verifier.expires is not None and at >= verifier.expires:
        raise Unauthenticated(f"key {verifier.key_id} expired at {format_time(verifier.expires)}", remedy=_REMEDY)
    if verifier.disabled is not None and at >= verifier.disabled:
        raise Unauthenticated(f"{verifier.principal.actor} is disabled", remedy="ask an operator to enable it")
    return verifier.principal
