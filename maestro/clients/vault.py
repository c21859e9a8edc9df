"""HashiCorp Vault or OpenBao by HTTP: sign-in by token or Kubernetes ServiceAccount, and the KV engine, version 2."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from threading import Lock
from typing import Any

import httpx

from maestro.core.clock import Clock, SystemClock
from maestro.core.errors import BadInput, MaestroError, NotFound, Refused, Unauthenticated, Unreachable

SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_EARLY = 0.2
"""A sign-in is renewed when this part of its time is left."""


class Vault:
    """One server. Thread-safe; holds a token and no secret.

    Args:
        address: such as `https://vault.vault:8200`.
        token: a token; none when a role signs in.
        role: role of the Kubernetes authentication, used when no token is given.
        mount: where the Kubernetes authentication is mounted.
        jwt: the ServiceAccount's token, read again at every sign-in since it changes.
        ca: certificate authority of the server, when it is not a public one.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        role: str | None = None,
        mount: str = "kubernetes",
        jwt: Path = SERVICE_ACCOUNT_TOKEN,
        ca: Path | None = None,
        clock: Clock | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        if token is None and role is None:
            raise Unauthenticated(
                "nothing says how to sign in to Vault", remedy="set VAULT_TOKEN, or VAULT_ROLE for a ServiceAccount"
            )
        self._address = address.rstrip("/")
        self._given = token
        self._role = role
        self._mount = mount
        self._jwt = jwt
        self._clock = clock or SystemClock()
        self._held: tuple[str, float] | None = None
        self._lock = Lock()
        self._timeout_s = timeout_s
        self._verify: ssl.SSLContext | bool = True if ca is None else ssl.create_default_context(cafile=str(ca))

    @classmethod
    def of_environment(cls, *, clock: Clock | None = None) -> Vault:
        """As the variables VAULT_ADDR, VAULT_TOKEN, VAULT_ROLE, VAULT_AUTH_MOUNT, VAULT_CACERT say.

        Raises:
            Unreachable: VAULT_ADDR is not set.
        """
        address = os.environ.get("VAULT_ADDR")
        if not address:
            raise Unreachable("nothing says where Vault is", remedy="set VAULT_ADDR", component="vault")
        ca = os.environ.get("VAULT_CACERT")
        return cls(
            address,
            token=os.environ.get("VAULT_TOKEN") or None,
            role=os.environ.get("VAULT_ROLE") or None,
            mount=os.environ.get("VAULT_AUTH_MOUNT", "kubernetes"),
            ca=Path(ca) if ca else None,
            clock=clock,
        )

    def __repr__(self) -> str:
        return f"Vault({self._address!r})"

    def read(self, mount: str, path: str) -> dict[str, Any]:
        """The newest version of a secret's fields.

        Raises:
            NotFound: there is none, or it was deleted.
        """
        answer = self._ask("GET", f"/v1/{mount}/data/{path}", f"read {mount}/{path}")
        data: dict[str, Any] | None = (answer.get("data") or {}).get("data")
        if data is None:
            raise NotFound(f"Vault holds no {mount}/{path}", remedy="put it there")
        return data

    def write(self, mount: str, path: str, data: dict[str, Any]) -> None:
        """A new version of a secret."""
        self._ask("POST", f"/v1/{mount}/data/{path}", f"write {mount}/{path}", {"data": data})

    def _ask(self, method: str, path: str, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        token = self._token()
        response = self._send(method, path, what, body, token)
        if response.status_code == 403 and self._given is None:
            # the sign-in may have been revoked: once more with a new one
            response = self._send(method, path, what, body, self._token(fresh=True))
        if response.status_code >= 400:
            raise self._refusal(response, what)
        document: dict[str, Any] = response.json() if response.content else {}
        return document

    def _token(self, *, fresh: bool = False) -> str:
        if self._given is not None:
            return self._given
        with self._lock:
            now = self._clock.monotonic()
            if self._held is None or fresh or now >= self._held[1]:
                self._held = self._sign_in(now)
            return self._held[0]

    def _sign_in(self, now: float) -> tuple[str, float]:
        try:
            jwt = self._jwt.read_text().strip()
        except OSError as error:
            raise Unauthenticated(
                f"the ServiceAccount's token {self._jwt} cannot be read: {error.strerror}",
                remedy="mount it (automountServiceAccountToken: true), or set VAULT_TOKEN",
            ) from None
        what = f"sign in to Vault with role {self._role}"
        response = self._send("POST", f"/v1/auth/{self._mount}/login", what, {"role": self._role, "jwt": jwt}, None)
        if response.status_code in (400, 403):
            raise Unauthenticated(
                f"cannot {what}: {_said(response)}",
                remedy=f"bind the ServiceAccount to the role: vault read auth/{self._mount}/role/{self._role}",
            )
        if response.status_code >= 400:
            raise self._refusal(response, what)
        auth = response.json()["auth"]
        return str(auth["client_token"]), now + float(auth["lease_duration"]) * (1 - _EARLY)

    def _send(
        self, method: str, path: str, what: str, body: dict[str, Any] | None, token: str | None
    ) -> httpx.Response:
        headers = {"X-Vault-Request": "true"} | ({"X-Vault-Token": token} if token else {})
        try:
            return httpx.request(
                method, self._address + path, json=body, headers=headers, timeout=self._timeout_s, trust_env=False, verify=self._verify,
            )  # fmt: skip
        except httpx.HTTPError as error:
            raise Unreachable(
                f"cannot {what}: Vault {self._address} does not answer ({type(error).__name__})",
                remedy="see that it runs and VAULT_ADDR names it",
                component="vault",
            ) from None

    def _refusal(self, response: httpx.Response, what: str) -> MaestroError:
        said = _said(response)
        match response.status_code:
            case 403:
                return Refused(f"cannot {what}: {said}", remedy="give the policy of this role or token the capability")
            case 404:
                return NotFound(f"cannot {what}: Vault holds nothing there", remedy="put it there")
            case 400 | 405:
                return BadInput(f"cannot {what}: {said}", remedy="mount a KV engine, version 2, at this path")
            case 503:
                return Unreachable(
                    f"cannot {what}: Vault {self._address} is sealed or in maintenance",
                    remedy="unseal it",
                    component="vault",
                )
            case status:
                return Unreachable(
                    f"cannot {what}: Vault {self._address} answers {status}: {said}",
                    remedy="see its log",
                    component="vault",
                )


def _said(response: httpx.Response) -> str:
    try:
        return "; ".join(str(item) for item in response.json().get("errors", [])) or f"status {response.status_code}"
    except ValueError:
        return f"status {response.status_code}"
