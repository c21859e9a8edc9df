"""Where secret values come from: one implementation of `maestro.core.seams.SecretStore` a file."""

from __future__ import annotations

from pathlib import Path

from maestro.core.errors import BadInput
from maestro.core.seams import SecretStore
from maestro.security.secrets.environment import EnvironmentSecrets
from maestro.security.secrets.file import FileSecrets
from maestro.security.secrets.vault import VaultSecrets

__all__ = ["KINDS", "EnvironmentSecrets", "FileSecrets", "VaultSecrets", "secret_store"]

KINDS = ("environment", "file", "vault")
"""What `secret_store` knows."""


def secret_store(address: str) -> SecretStore:
    """The store at `environment`, `file:<folder>` or `vault:<mount>/<prefix>` (where VAULT_ADDR says).

    Raises:
        BadInput: the kind is unknown, or the folder is missing from the address.
        Unreachable: VAULT_ADDR is not set.
    """
    kind, _, place = address.partition(":")
    if kind == "environment" and not place:
        return EnvironmentSecrets()
    if kind == "file" and place:
        return FileSecrets(Path(place))
    if kind == "vault" and place:
        from maestro.clients.vault import Vault

        mount, _, prefix = place.partition("/")
        return VaultSecrets(Vault.of_environment(), mount, prefix)
    raise BadInput(
        f"there is no secret store {address!r}",
        field="secrets",
        remedy=f"known kinds: {', '.join(KINDS)}; write `environment`, `file:<folder>` or `vault:<mount>/<prefix>`",
    )
