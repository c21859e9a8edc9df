"""A file of JSON lines that only grows and survives `kill -9`: every line is whole or is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from maestro.core.errors import Unreachable

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Journal:
    """Appends to one file (mode 0600).

    A line has reached the kernel when `append` returns, so that it outlives the process; after `sync` it outlives the machine. A torn last
    line, which only a full disk or a lost machine leaves, is skipped when reading and closed off before the next line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._torn = not self._ends_in_newline()

    def append(self, records: list[dict[str, Any]]) -> None:
        """Write records, all or none of which count.

        Raises:
            Unreachable: the disk is full or gone; the file is as it was before.
        """
        data = b"".join(_encode(record) + b"\n" for record in records)
        if self._torn:
            data = b"\n" + data
        before: int | None = None
        try:
            before = os.fstat(self._descriptor).st_size
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError as error:
            if before is not None:
                self._undo(before)
            raise Unreachable(
                f"{self._path.name} cannot be written: {error.strerror}", remedy="free disk space and send again"
            ) from error
        self._torn = False

    def sync(self) -> None:
        """Make what was appended durable.

        Raises:
            Unreachable: the disk did not take it.
        """
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise Unreachable(
                f"{self._path.name} cannot be made durable: {error.strerror}", remedy="look at the disk"
            ) from error

    def read(self) -> Iterator[dict[str, Any]]:
        """Every whole record, oldest first."""
        with self._path.open("rb") as file:
            for line in file:
                try:
                    record = _decode(line)
                except msgspec.DecodeError:
                    continue
                if isinstance(record, dict):
                    yield record

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _undo(self, size: int) -> None:
        try:
            os.ftruncate(self._descriptor, size)
        except OSError:
            self._torn = True

    def _ends_in_newline(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        return size == 0 or os.pread(self._descriptor, 1, size - 1) == b"\n"
