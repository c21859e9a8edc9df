"""What a batch costs, by measurement at a few sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import numpy as np

from maestro.serving.runtimes._base import INLINE_ROWS, INLINE_US
from maestro.serving.table import Batch

SIZES = (1, 16, 256)
"""Rows at which a path is measured."""
_AT_MOST_S = 0.05
_QUICK_US = 1000.0


class Costs:
    """Microseconds of a batch by its rows; between two measured sizes by interpolation, beyond the last in proportion.

    >>> Costs({1: 10.0, 16: 25.0, 256: 265.0}).of(136)
    145.0
    >>> Costs({1: 10.0, 16: 20.0}).of(32)
    40.0
    """

    def __init__(self, measured: Mapping[int, float]) -> None:
        self.measured = dict(sorted(measured.items()))
        self._sizes = list(self.measured)
        self._costs = list(self.measured.values())

    def of(self, rows: int) -> float:
        """Of a batch of so many rows."""
        if rows > self._sizes[-1]:
            return self._costs[-1] * rows / self._sizes[-1]
        return float(np.interp(rows, self._sizes, self._costs))


class Measured:
    """What a runtime in this process says of its speed: what was measured while it warmed up, or before; until then it is slow."""

    _costs: Costs | None

    @property
    def quick(self) -> bool:
        """Whether one row takes less than a millisecond."""
        return self.cost_us(1) < _QUICK_US

    @property
    def inline(self) -> bool:
        """Whether the event loop may answer a small batch itself."""
        return self.cost_us(INLINE_ROWS) < INLINE_US

    def cost_us(self, rows: int) -> float:
        """Microseconds of a batch."""
        return float("inf") if self._costs is None else self._costs.of(rows)


def measure(answer: Callable[[Batch], object], sample: Batch, sizes: tuple[int, ...] = SIZES) -> Costs:
    """The median of repeated answers to the sample's rows, repeated to each size."""
    found: dict[int, float] = {}
    for size in sizes:
        batch = tiled(sample, size)
        taken: list[float] = []
        began = time.perf_counter()
        while len(taken) < 3 or (len(taken) < 25 and time.perf_counter() - began < _AT_MOST_S):
            started = time.perf_counter()
            answer(batch)
            taken.append((time.perf_counter() - started) * 1e6)
        found[size] = median(taken)
    return Costs(found)


def tiled(batch: Batch, size: int) -> Batch:
    """The batch's rows again and again until there are `size`."""
    index = np.arange(size) % batch.size
    return Batch(
        batch.names,
        batch.types,
        size,
        None if batch.matrix is None else np.ascontiguousarray(batch.matrix[index]),
        None if batch.columns is None else tuple(column[index] for column in batch.columns),
    )
