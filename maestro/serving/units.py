"""Units under a keyed hash: records name nobody, and lose even that link when the key has rotated out."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import timedelta
from pathlib import Path

from maestro.core.clock import Clock
from maestro.core.errors import Malformed, NotFound
from maestro.core.model import Model, Time
from maestro.security.private_file import read_private, write_atomically

ROTATION = timedelta(days=30)
KEPT = 2
"""The current key and the one before it, by which records of the last period are still joined."""


class UnitKey(Model):
    """One key; `id` begins every hash made with it."""

    id: str
    created: Time
    key: str


class UnitKeys(Model):
    """The key file, newest first."""

    keys: tuple[UnitKey, ...]


class UnitHasher:
    """Hashes the text of a unit with the current key of `path` (mode 0600), which is made and rotated here.

    Raises:
        Refused: others may read the key file.
        Malformed: it cannot be read.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._keys = self._load()

    def hash(self, text: str) -> str:
        """The unit's name under the current key."""
        return _hashed(self._keys[0], text)

    def names(self, text: str) -> list[str]:
        """The unit's names under the current key and under those before it, newest first."""
        return [_hashed(key, text) for key in self._keys]

    def rotate_if_due(self) -> bool:
        """Make a new key when the current one has served its time; whether it did."""
        if self._clock.now() - self._keys[0].created < ROTATION:
            return False
        self._keys = self._save((self._new(), *self._keys))
        return True

    def _load(self) -> tuple[UnitKey, ...]:
        try:
            content = read_private(self._path, "unit key file")
        except NotFound:
            return self._save((self._new(),))
        try:
            return UnitKeys.model_validate(json.loads(content)).keys[:KEPT]
        except ValueError:
            raise Malformed(
                f"unit key file {self._path} cannot be read", remedy="restore it, or remove it to start afresh"
            ) from None

    def _new(self) -> UnitKey:
        return UnitKey(id=secrets.token_hex(3), created=self._clock.now(), key=secrets.token_hex(32))

    def _save(self, keys: tuple[UnitKey, ...]) -> tuple[UnitKey, ...]:
        kept = keys[:KEPT]
        write_atomically(self._path, json.dumps(UnitKeys(keys=kept).document()).encode(), mode=0o600)
        return kept


def _hashed(key: UnitKey, text: str) -> str:
    secret = bytes.fromhex(key.key)
    return f"{key.id}-{hashlib.blake2b(text.encode(), digest_size=16, key=secret).hexdigest()}"


def entity_number(text: str) -> int:
    """The number by which versions list the entities they were trained on: the first 8 bytes, big-endian, of SHA-256 of the entity key text.

    >>> entity_number("7")
    8719647946811673230
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
