"""Answers that a version gave lately, by the bytes of the row."""

from __future__ import annotations

import hashlib
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from maestro.serving.caches.lru import CacheCounts, Lru
from maestro.serving.table import Batch, Matrix, Prediction

NAME = "prediction"
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Taken:
    """What the cache knows of a batch.

    Args:
        found: the answer of each row and its scores, None for a row that has to be asked.
        missing: the positions of those rows, rising.
    """

    keys: tuple[bytes, ...]
    found: tuple[tuple[Any, tuple[float, ...] | None] | None, ...]
    missing: tuple[int, ...]

    def rest(self, batch: Batch) -> Batch:
        """The rows that have to be asked."""
        return batch if len(self.missing) == batch.size else rows_of(batch, self.missing)


class PredictionCache:
    """Keyed by the version's digest and the row's canonical bytes, so that no swap can make an answer stale.

    A row is canonical when its numbers are: -0.0 is 0.0 and every NaN is one NaN; text goes in by its length and bytes. Keys are 16 bytes of BLAKE2b
    under a secret of this process, so that no caller can make two rows collide. Meant for models that answer in more than some 50 µs; a model must be a
    function of its row. Loop-local.

    Args:
        max_bytes: of keys and answers together; 0 turns the cache off.
        ttl_s: age in seconds from which on an answer is asked anew.
        now: a monotonic clock in seconds.
    """

    def __init__(self, *, max_bytes: int, ttl_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._answers: Lru[bytes, tuple[Any, tuple[float, ...] | None]] = Lru(
            NAME, max_bytes=max_bytes, ttl_s=ttl_s, now=now
        )
        self._secret = secrets.token_bytes(32)

    @property
    def counts(self) -> CacheCounts:
        """Rows answered from here, and rows that were not."""
        return self._answers.counts

    @property
    def enabled(self) -> bool:
        """Whether it can remember anything."""
        return self._answers.enabled

    @property
    def bytes(self) -> int:
        """Bytes held."""
        return self._answers.bytes

    def take(self, digest: str, batch: Batch) -> Taken:
        """What is known of the rows for the version with this digest."""
        base = hashlib.blake2b(digest.encode(), digest_size=16, key=self._secret)
        keys = []
        for row in _row_bytes(batch):
            state = base.copy()
            state.update(row)
            keys.append(state.digest())
        found = tuple(self._answers.get(key) for key in keys)
        return Taken(tuple(keys), found, tuple(i for i, answer in enumerate(found) if answer is None))

    def keep(self, taken: Taken, asked: Prediction) -> Prediction:
        """Remember the answers of the missing rows (`asked`, in the order of `taken.missing`); the answer of all rows."""
        scores = None if asked.scores is None else asked.scores.tolist()
        whole = list(taken.found)
        for place, position in enumerate(taken.missing):
            value = asked.values[place]
            row = None if scores is None else tuple(scores[place])
            whole[position] = (value, row)
            size = 16 + sys.getsizeof(value) + (0 if row is None else 40 + 32 * len(row))
            if isinstance(value, list | tuple | dict):
                size += 8 * len(_encode(value))
            self._answers.put(taken.keys[position], (value, row), size=size)
        return _joined(whole)

    def known(self, taken: Taken) -> Prediction:
        """The answer when nothing is missing."""
        return _joined(list(taken.found))

    def clear(self) -> None:
        """Forget everything."""
        self._answers.clear()


def _joined(rows: Sequence[tuple[Any, tuple[float, ...] | None] | None]) -> Prediction:
    answers = [row for row in rows if row is not None]
    scores: Matrix | None = None
    if answers and all(row[1] is not None for row in answers):
        scores = np.array([row[1] for row in answers], dtype=np.float64)
    return Prediction([row[0] for row in answers], scores)


def rows_of(batch: Batch, rows: Sequence[int]) -> Batch:
    """Some rows of a batch, in their order."""
    index = np.asarray(rows, dtype=np.intp)
    return Batch(
        batch.names,
        batch.types,
        len(index),
        None if batch.matrix is None else np.ascontiguousarray(batch.matrix[index]),
        None if batch.columns is None else tuple(column[index] for column in batch.columns),
    )


def _row_bytes(batch: Batch) -> list[bytes]:
    if batch.matrix is not None:
        return _canonical(batch.matrix)
    parts: list[list[bytes]] = []
    for position, kind in enumerate(batch.types):
        column = batch.column(position)
        if kind == "string":
            parts.append([_encode(value) for value in column])
        else:
            parts.append(_canonical(np.asarray(column, dtype=np.float64).reshape(-1, 1)))
    return [b"".join(row) for row in zip(*parts, strict=True)]


def _canonical(matrix: NDArray[np.float64]) -> list[bytes]:
    clean = matrix + 0.0  # -0.0 + 0.0 is 0.0
    missing = np.isnan(clean)
    if missing.any():
        clean[missing] = np.nan
    data = np.ascontiguousarray(clean).tobytes()
    width = 8 * matrix.shape[1]
    return [data[start : start + width] for start in range(0, len(data), width)] if width else [b""] * len(matrix)
