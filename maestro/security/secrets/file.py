"""Secrets as files of one folder, a file a secret, mode 0600."""

from __future__ import annotations

from pathlib import Path

from maestro.core.errors import NotFound
from maestro.security.private_file import decode_text, read_private, write_atomically
from maestro.security.secrets._base import checked_name, checked_value, missing


class FileSecrets:
    """The files of `folder`. Each read sees the value that was put last, whole; a file that others may read is refused."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> str:
        """The value of the secret `name`.

        Raises:
            NotFound: there is no file of that name, or it is empty.
            Refused: others may read it.
        """
        path = self._folder / checked_name(name)
        try:
            content = read_private(path, "secret")
        except NotFound:
            raise missing(name, f"the file {path}") from None
        if not content:
            raise missing(name, f"the file {path}")
        return decode_text(content, f"secret {name}")

    def put(self, name: str, value: str) -> None:
        """Create or replace it, readable by the owner only."""
        write_atomically(self._folder / checked_name(name), checked_value(name, value).encode())
