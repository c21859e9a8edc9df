"""Secrets in Vault's or OpenBao's KV engine, version 2: a secret a path, its value in the field `value`."""

from __future__ import annotations

from maestro.clients.vault import Vault
from maestro.core.errors import NotFound
from maestro.security.secrets._base import checked_name, checked_value, missing

FIELD = "value"


class VaultSecrets:
    """The secrets under `<mount>/<prefix>/`. Nothing is kept here: each read asks for the newest version.

    Args:
        vault: the server.
        mount: where the KV engine is mounted.
        prefix: the folder in it.
    """

    def __init__(self, vault: Vault, mount: str = "secret", prefix: str = "maestro") -> None:
        self._vault = vault
        self._mount = mount
        self._prefix = prefix.strip("/")

    def get(self, name: str) -> str:
        """The value of the secret `name`.

        Raises:
            NotFound: there is none, or it has no field `value`.
            Refused: the policy does not allow it.
        """
        path = self._path(name)
        try:
            value = self._vault.read(self._mount, path).get(FIELD)
        except NotFound:
            value = None
        if not isinstance(value, str) or not value:
            raise missing(name, f"Vault: vault kv put {self._mount}/{path} {FIELD}=…")
        return value

    def put(self, name: str, value: str) -> None:
        """A new version; who may read it is the policy's matter."""
        self._vault.write(self._mount, self._path(name), {FIELD: checked_value(name, value)})

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{checked_name(name)}" if self._prefix else checked_name(name)
