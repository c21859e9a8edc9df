"""Who asks: the data port by the network or by a key, labels and the admin routes always by a key with a role."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from maestro.core.clock import Clock
from maestro.core.errors import NotFound, Unauthenticated
from maestro.core.principals import Principal, PrincipalRole
from maestro.security.verifiers import KeyVerifiers

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
        mode: `network` lets any caller infer (the network says who can reach the port), `key` asks for a key.
        verifiers: the verifiers of keys that the control plane writes; without the file no key is valid.
    """

    def __init__(self, mode: Literal["network", "key"], verifiers: Path, clock: Clock) -> None:
        self._mode = mode
        self._path = verifiers
        self._clock = clock
        self._verifier: Verifier | None = None

    def data(self, authorization: str | None) -> None:
        """Admit a caller of the data port.

        Raises:
            Unauthenticated: it has no valid key and needs one.
        """
        if self._mode == "key":
            self.principal(authorization)

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
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("no key was sent", remedy="send the header Authorization: Bearer mk_…")
        if self._verifier is None:
            try:
                self._verifier = KeyVerifiers.load(self._path, self._clock)
            except NotFound:
                raise Unauthenticated(
                    "this server knows no keys yet", remedy="mint a key (maestro keys mint); it exports their verifiers"
                ) from None
        return self._verifier.authenticate(token)
