"""Rows and answers of the traffic, so many a second, for whoever watches it: drift detectors, the payload log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maestro.core.contract import ModelContract
from maestro.serving.table import Batch, Matrix

ROWS_PER_S = 1000.0
"""Rows that one process takes in a second, on average."""
BURST_S = 2.0
"""How long it may be ahead of that."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Answers of one arm, and the rows they were given for.

    Args:
        batch: the rows as the arm's model took them; None when no one model took them.
        contract: the arm's; None when no contract is known here.
        values: one a row.
        scores: rows × classes, when the model gives them.
    """

    model: str
    arm: str
    version: str
    revision: int
    contract: ModelContract | None
    batch: Batch | None
    values: list[Any]
    scores: Matrix | None


class Sampler:
    """Takes whole batches of answered rows, each request of quiet traffic and a share of busy traffic.

    The hot path compares `due` with a time that it has anyway and does no more for a batch that is not taken. A batch of n rows is paid for with
    n / `rows_per_s` seconds, of which up to `BURST_S` may be saved up (the generic cell rate algorithm).

    Args:
        sink: takes a sample; called on the event loop, must not block.
        rows_per_s: on average; 0 takes none.
        clock: of the times that `take` is given, in seconds.
    """

    __slots__ = ("_cost_s", "_sink", "due")

    def __init__(
        self,
        sink: Callable[[Sample], None],
        *,
        rows_per_s: float = ROWS_PER_S,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sink = sink
        self._cost_s = 1.0 / rows_per_s if rows_per_s > 0 else 0.0
        self.due = clock() - BURST_S if rows_per_s > 0 else float("inf")

    def take(self, now: float, sample: Sample) -> None:
        """Take a batch; asked for when `due` is at or before `now`."""
        self.due = max(self.due, now - BURST_S) + len(sample.values) * self._cost_s
        self._sink(sample)
