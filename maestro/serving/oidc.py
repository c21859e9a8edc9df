"""Callers by an OpenID Connect provider's tokens: signed by a key of its set, for this audience, by this issuer, in their time.

The provider's public keys are a file (JWKS) that the platform keeps up to date: the model server asks nobody over the network.
Source: RFC 7519, RFC 7517; OpenID Connect Core 1.0, section 3.1.3.7.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import jwt

from maestro.core.errors import Unauthenticated
from maestro.core.principals import Principal

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "PS384", "PS512", "EdDSA")
"""Signatures by a key pair; none that a public key could forge."""
LEEWAY_S = 10
_LOOK_S = 1.0
_REMEDY = "send a token of the issuer that this server trusts"


class TokenVerifier:
    """Verifies tokens.

    Args:
        issuer: what `iss` must be.
        audience: what `aud` must hold.
        keys: the issuer's keys; followed when the file changes, and as they were while it cannot be read.
    """

    def __init__(self, issuer: str, audience: str, keys: Path) -> None:
        self._issuer = issuer
        self._audience = audience
        self._path = keys
        self._keys: dict[str | None, Any] = {}
        self._stamp: tuple[int, int] | None = None
        self._looked = 0.0

    def authenticate(self, token: str) -> Principal:
        """Whose token it is: a caller without any role.

        Raises:
            Unauthenticated: the signature, issuer, audience or time is wrong.
        """
        self._follow()
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.get(header.get("kid")) or (
                next(iter(self._keys.values())) if len(self._keys) == 1 else None
            )
            if key is None:
                raise Unauthenticated("the token is signed with a key that is not the issuer's", remedy=_REMEDY)
            claims = jwt.decode(
                token, key, algorithms=list(ALGORITHMS), audience=self._audience, issuer=self._issuer, leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the token is not valid: {str(error)[:200]}", remedy=_REMEDY) from None
        return Principal(name=str(claims["sub"])[:100], kind="service", roles=())

    def _follow(self) -> None:
        now = time.monotonic()
        if self._keys and now - self._looked < _LOOK_S:
            return
        self._looked = now
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return
            document = json.loads(self._path.read_bytes())
            self._keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(document).keys}
            self._stamp = stamp
        except (OSError, ValueError, jwt.PyJWTError, AttributeError, TypeError) as error:
            log.warning("the issuer's keys %s cannot be read and stay as they were: %s", self._path, error)
