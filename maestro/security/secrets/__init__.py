"""Where secret values come from: one implementation of `maestro.core.seams.SecretStore` a file."""

from __future__ import annotations

from pathlib import Path

from maestro.core.errors import BadInput
from maestro.core.seams import SecretStore
from maestro.security.secrets.environment import EnvironmentSecrets
from maestro.security.secrets.file import FileSecrets

__all__ = ["KINDS", "EnvironmentSecrets", "FileSecrets", "secret_store"]

KINDS = ("environment", "file")
"""What `secret_store` knows."""


def secret_store(address: str) -> SecretStore:
    """The store at `environment`, or `file:<folder>`.

    Raises:
        BadInput: the kind is unknown, or the folder is missing from the address.
    """
    kind, _, place = address.partition(":")
    if kind == "environment" and not place:
        return EnvironmentSecrets()
    if kind == "file" and place:
        return FileSecrets(Path(place))
    raise BadInput(
        f"there is no secret store {address!r}",
        field="secrets",
        remedy=f"known kinds: {', '.join(KINDS)}; write `environment` or `file:<folder>`",
    )
