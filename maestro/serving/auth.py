"""Who asks: the data port by the network or by a key, labels and the admin routes always by a key with a role."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from maestro.core.clock import Clock
from maestro.core.errors import BadInput, NotFound, Unauthenticated
from maestro.core.principals import Principal, PrincipalRole
from maestro.security.verifiers import KeyVerifiers

if TYPE_CHECKING:
    from maestro.core.settings import ServingSettings

LOOK_S = 0.001
"""Between looks at the file of verifiers."""
KNOWN_S = 1.0
"""How long a caller that was admitted need not be verified again: less than any expiry is meant to be exact to."""
_REMEMBERED = 10_000
LABELS = (PrincipalRole.SUBMITTER,)
ADMIN = (PrincipalRole.VIEWER, PrincipalRole.SUBMITTER, PrincipalRole.APPROVER)


class Verifier(Protocol):
    """Knows keys."""

    def authenticate(self, token: str) -> Principal:
        """Whose key it is.

        Raises:
            Unauthenticated: nobody's.
        """
        ...


class ServerAuth:
    """Checks the `Authorization: Bearer` header.

    Args:
        mode: `network` lets any caller infer (the network says who can reach the port), `key` asks for a key, `oidc` for a key or a token of the issuer.
        verifiers: the verifiers of keys that the control plane writes; without the file no key is valid.
        oidc: issuer, audience and the path of the issuer's public keys.
    """

    def __init__(
        self,
        mode: Literal["network", "key", "oidc"],
        verifiers: Path,
        clock: Clock,
        *,
        oidc: tuple[str, str, str] | None = None,
    ) -> None:
        self._mode = mode
        self._path = verifiers
        self._clock = clock
        self._verifier: Verifier | None = None
        self._oidc = oidc
        self._tokens: Verifier | None = None
        self._known: dict[str, float] = {}
        self._stamp: tuple[int, int] | None = None
        self._looked = 0.0

    def data(self, authorization: str | None) -> None:
        """Admit a caller of the data port. A key that is revoked is refused `LOOK_S` later at the latest.

        Raises:
            Unauthenticated: it has no valid key and needs one.
        """
        if self._mode == "network":
            return
        now = time.monotonic()
        if now - self._looked > LOOK_S:
            self._look(now)
        if authorization is not None and self._known.get(authorization, 0.0) > now:
            return
        if self._mode == "oidc" and not (authorization or "").lower().startswith("bearer mk_"):
            self._token(authorization)
        else:
            self.principal(authorization)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        if authorization is not None:
            self._known[authorization] = now + KNOWN_S

    def _look(self, now: float) -> None:
        self._looked = now
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamp = None
        if stamp != self._stamp:
            self._stamp = stamp
            self._known.clear()

    def _token(self, authorization: str | None) -> None:
        if self._tokens is None:
            from maestro.serving.oidc import TokenVerifier

            assert self._oidc is not None  # noqa: S101 - the settings were checked at the start
            issuer, audience, keys = self._oidc
            self._tokens = TokenVerifier(issuer, audience, Path(keys))
        self._tokens.authenticate(bearer(authorization))

    def require(self, authorization: str | None, *roles: PrincipalRole) -> Principal:
        """The caller, who must have one of `roles`.

        Raises:
            Unauthenticated: no valid key.
            Refused: the wrong role.
        """
        principal = self.principal(authorization)
        principal.require(*roles)
        return principal

    def principal(self, authorization: str | None) -> Principal:
        """Whose key the header holds.

        Raises:
            Unauthenticated: none, or nobody's.
        """
        token = bearer(authorization)
        if self._verifier is None:
            try:
                self._verifier = KeyVerifiers.load(self._path, self._clock)
            except NotFound:
                raise Unauthenticated(
                    "this server knows no keys yet", remedy="mint a key (maestro keys mint); it exports their verifiers"
                ) from None
        return self._verifier.authenticate(token)


def bearer(authorization: str | None) -> str:
    """What the header `Authorization: Bearer` holds.

    Raises:
        Unauthenticated: there is none.
    """
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("no key was sent", remedy="send the header Authorization: Bearer mk_…")
    return token


def oidc_settings(serving: ServingSettings) -> tuple[str, str, str] | None:
    """Issuer, audience and keys; None where authentication is not by tokens.

    Raises:
        BadInput: one is missing.
    """
    if serving.auth != "oidc":
        return None
    for name in ("oidc_issuer", "oidc_audience", "oidc_keys"):
        if getattr(serving, name) is None:
            variable = f"MAESTRO_SERVING__{name.upper()}"
            raise BadInput(f"authentication by oidc needs {variable}", field=variable, remedy=f"set {variable}")
    return str(serving.oidc_issuer), str(serving.oidc_audience), str(serving.oidc_keys)
