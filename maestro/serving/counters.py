"""Counters in memory that outlives its writer: a process killed in mid-request has counted all that it answered.

A bank is a directory of named rows of cells, then the cells (float64, exact for whole numbers up to 2**53). One process at a time writes it; any
process that maps the same file reads it. An entry of the directory counts once the directory's length says so, which is the last thing that is written.
"""

from __future__ import annotations

import logging
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Key = tuple[str, ...]
if TYPE_CHECKING:
    Cells = memoryview[float]
else:
    Cells = memoryview

BANK_BYTES = 1 << 20
_DIRECTORY_BYTES = 1 << 18
_HEADER_BYTES = 16

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[list[str], int]).decode


class Bank:
    """The rows of one writer.

    Args:
        memory: `BANK_BYTES` of zeros or of what an earlier writer left; private memory when None.
    """

    def __init__(self, memory: bytearray | mmap.mmap | None = None) -> None:
        self._memory = bytearray(BANK_BYTES) if memory is None else memory
        view = memoryview(self._memory)
        self._lengths = view[:_HEADER_BYTES].cast("Q")
        self._directory = view[_HEADER_BYTES:_DIRECTORY_BYTES]
        self._cells = view[_DIRECTORY_BYTES:].cast("d")
        self._places: dict[Key, tuple[int, int]] = {}
        self._read = 0
        self._used = 0
        self._follow()

    @classmethod
    def of(cls, path: Path) -> Bank:
        """The bank of a file, which is made when it is not there."""
        with path.open("a+b") as file:
            file.truncate(BANK_BYTES)
            return cls(mmap.mmap(file.fileno(), BANK_BYTES))

    def cells(self, key: Key, size: int = 1) -> Cells:
        """The row called `key`, made on first sight with `size` cells of zero; its writer adds to them in place.

        A bank that is full gives cells that nobody reads, and says so once in the log.
        """
        place = self._places.get(key)
        if place is None:
            entry = _encode((key, size)) + b"\n"
            if self._read + len(entry) > len(self._directory) or self._used + size > len(self._cells):
                log.error("no room for counters of %s: they are not exported", "/".join(key))
                return memoryview(bytearray(8 * size)).cast("d")
            self._directory[self._read : self._read + len(entry)] = entry
            place = self._places[key] = (self._used, size)
            self._read += len(entry)
            self._used += size
            self._lengths[0] = self._read
        start, size = place
        return self._cells[start : start + size]

    def find(self, key: Key) -> Cells | None:
        """The row called `key` of another writer, which goes on changing; None when it has made none."""
        if key not in self._places:
            self._follow()
        place = self._places.get(key)
        return None if place is None else self._cells[place[0] : place[0] + place[1]]

    def rows(self) -> Iterator[tuple[Key, NDArray[np.float64]]]:
        """Every row as it stands."""
        self._follow()
        for key, (start, size) in list(self._places.items()):
            yield key, np.array(self._cells[start : start + size])

    def _follow(self) -> None:
        length = self._lengths[0]
        while self._read < length:
            rest = bytes(self._directory[self._read : length])
            line = rest[: rest.index(b"\n") + 1]
            key, size = _decode(line)
            self._places[tuple(key)] = (self._used, size)
            self._read += len(line)
            self._used += size


def total(banks: Iterable[Bank]) -> dict[Key, NDArray[np.float64]]:
    """The sum of every row over the banks.

    >>> one, other = Bank(), Bank()
    >>> one.cells(("a",))[0] += 2; other.cells(("a",))[0] += 3
    >>> float(total([one, other])[("a",)][0])
    5.0
    """
    sums: dict[Key, NDArray[np.float64]] = {}
    for bank in banks:
        for key, row in bank.rows():
            sums[key] = sums[key] + row if key in sums else row
    return sums
