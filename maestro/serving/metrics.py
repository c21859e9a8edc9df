"""The server's counters, in memory that outlives a worker. The exporter and the evidence read the same ones, summed over all processes."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from maestro.core.metric_names import LATENCY_BUCKETS, METRICS
from maestro.serving.counters import Bank, Cells, Key, total

OUTCOMES = ("ok", "error", "timeout", "contract")
"""What an arm's own first attempt came to."""

ROW_BUCKETS = METRICS["maestro_inference_batch_size"].buckets
ARM, ROWS, RESPONSE, RESPONSE_LATENCY, RANGE, INFLIGHT, CACHE, QUEUE, LOST = (
    "arm", "rows", "response", "response_latency", "range", "inflight", "cache", "queue", "lost",
)  # fmt: skip
SHADOW = "shadow"


class Histogram:
    """Counts by bucket and a sum, in `len(bounds) + 2` cells."""

    __slots__ = ("_bounds", "_cells")

    def __init__(self, bounds: tuple[float, ...], cells: Cells | None = None) -> None:
        self._bounds = bounds
        self._cells = memoryview(bytearray(8 * (len(bounds) + 2))).cast("d") if cells is None else cells

    def observe(self, value: float) -> None:
        """Count one value."""
        self._cells[bisect_left(self._bounds, value)] += 1.0
        self._cells[-1] += value

    def observe_all(self, values: Sequence[float]) -> None:
        """Count several."""
        counts: dict[int, int] = {}
        bounds = self._bounds
        for value in values:
            bucket = bisect_left(bounds, value)
            counts[bucket] = counts.get(bucket, 0) + 1
        cells = self._cells
        for bucket, count in counts.items():
            cells[bucket] += count
        cells[-1] += sum(values)

    def cumulative(self) -> dict[str, int]:
        """Count at or below each bound, as text, `+Inf` last.

        >>> histogram = Histogram((0.1, 1.0)); histogram.observe(0.1); histogram.observe(7)
        >>> histogram.cumulative()
        {'0.1': 1, '1.0': 1, '+Inf': 2}
        """
        return cumulative(self._bounds, np.array(self._cells))


def cumulative(bounds: tuple[float, ...], cells: NDArray[np.float64]) -> dict[str, int]:
    """Count at or below each bound, as text, `+Inf` last; the last cell is the sum."""
    running = np.cumsum(cells[:-1]).astype(int).tolist()
    return dict(zip((*(str(float(bound)) for bound in bounds), "+Inf"), running, strict=True))


class ArmCounters:
    """One arm's first attempts, in `SIZE` cells."""

    SIZE = len(OUTCOMES) + len(LATENCY_BUCKETS) + 2
    __slots__ = ("_outcomes", "latency")

    def __init__(self, cells: Cells) -> None:
        self._outcomes = cells[: len(OUTCOMES)]
        self.latency = Histogram(LATENCY_BUCKETS, cells[len(OUTCOMES) :])

    @property
    def outcomes(self) -> dict[str, int]:
        """Attempts by what they came to."""
        return {outcome: int(count) for outcome, count in zip(OUTCOMES, self._outcomes, strict=True)}

    def observe(self, outcome: str, seconds: float) -> None:
        """Count one attempt."""
        self._outcomes[OUTCOMES.index(outcome)] += 1.0
        self.latency.observe(seconds)

    def answered(self, seconds: Sequence[float]) -> None:
        """Count attempts that came to `ok`."""
        self._outcomes[0] += len(seconds)
        self.latency.observe_all(seconds)


class ServerMetrics:
    """All counters of the server; exports the metric families of `maestro.core.metric_names` and no other.

    Args:
        unsigned_allowed: what the gauge of that name says.
        bank: where this process counts; memory of its own when None.
        others: the banks of other processes of the same server.

    `sources` give series that are kept elsewhere: names of `METRICS` with their values by labels, asked at every scrape.
    """

    def __init__(
        self,
        *,
        unsigned_allowed: bool = False,
        bank: Bank | None = None,
        others: Callable[[], Iterable[Bank]] = lambda: (),
    ) -> None:
        self.swaps: Counter[str] = Counter({"ok": 0, "refused": 0})
        self.labels: Counter[tuple[str, str, str]] = Counter()
        self.unsigned_allowed = unsigned_allowed
        self.dropped: Callable[[], int] = lambda: 0
        self.sources: list[Callable[[], Iterable[tuple[str, list[tuple[Key, float]]]]]] = []
        self.others = others
        self.arms: dict[tuple[str, str, str], ArmCounters] = {}
        self._bank = bank or Bank()
        self._rows: dict[str, Histogram] = {}
        self._responses: dict[int, Cells] = {}
        self._gauges: dict[Key, Cells] = {}
        self._inflight = self._bank.cells((INFLIGHT,))
        self._inflight[0] = 0.0  # an earlier writer's requests have ended with it
        self._response_latency = Histogram(
            LATENCY_BUCKETS, self._bank.cells((RESPONSE_LATENCY,), len(LATENCY_BUCKETS) + 2)
        )

    @property
    def inflight(self) -> int:
        """Requests under way in this process."""
        return int(self._inflight[0])

    @inflight.setter
    def inflight(self, value: int) -> None:
        self._inflight[0] = value

    def arm(self, model: str, version: str, arm: str) -> ArmCounters:
        """The counters of one arm in this process, made on first sight."""
        key = (model, version, arm)
        found = self.arms.get(key)
        if found is None:
            found = self.arms[key] = ArmCounters(self._bank.cells((ARM, *key), ArmCounters.SIZE))
        return found

    def reading(self, model: str, version: str, arm: str) -> tuple[dict[str, int], dict[str, int]]:
        """Attempts by outcome and cumulative latency of one arm, over all processes."""
        self.arm(model, version, arm)
        row = self.total()[(ARM, model, version, arm)]
        outcomes = {outcome: int(count) for outcome, count in zip(OUTCOMES, row, strict=False)}
        return outcomes, cumulative(LATENCY_BUCKETS, row[len(OUTCOMES) :])

    def batch(self, model: str, rows: int) -> None:
        """Count the rows of one request."""
        self.rows(model).observe(rows)

    def rows(self, model: str) -> Histogram:
        """Rows of the requests of one model in this process."""
        histogram = self._rows.get(model)
        if histogram is None:
            cells = self._bank.cells((ROWS, model), len(ROW_BUCKETS) + 2)
            histogram = self._rows[model] = Histogram(ROW_BUCKETS, cells)
        return histogram

    def response(self, status: int, seconds: float) -> None:
        """Count one answer to a caller."""
        self.responses(status, (seconds,))

    def responses(self, status: int, seconds: Sequence[float]) -> None:
        """Count several of one status."""
        cells = self._responses.get(status)
        if cells is None:
            cells = self._responses[status] = self._bank.cells((RESPONSE, str(status)))
        cells[0] += len(seconds)
        self._response_latency.observe_all(seconds)

    def out_of_range(self, model: str, feature: str, count: int) -> None:
        """Count values beyond the range that training saw."""
        self._add((RANGE, model, feature), count)

    def cache(self, name: str, hits: int, misses: int) -> None:
        """Count look-ups of a cache."""
        self._add((CACHE, name, "hits"), hits)
        self._add((CACHE, name, "misses"), misses)

    def shadow(self, model: str, node: str, result: str, rows: int) -> None:
        """Count rows that a mirror got a copy of: agree, differ, failed, dropped."""
        self._add((SHADOW, model, node, result), rows)

    def queue(self, depth: int) -> None:
        """Set how many requests wait for a model."""
        self._set((QUEUE,), depth)

    def lost(self, count: int) -> None:
        """Count exposures that could not be told to where they are recorded."""
        self._add((LOST,), count)

    def lost_total(self) -> int:
        """Exposures lost on their way, over all processes."""
        row = self.total().get((LOST,))
        return 0 if row is None else int(row[0])

    def text(self) -> bytes:
        """The Prometheus exposition."""
        from maestro.serving.exposition import exposition

        return exposition(self)

    def total(self) -> dict[Key, NDArray[np.float64]]:
        """Every row of cells, summed over all processes."""
        return total(self.banks())

    def banks(self) -> list[Bank]:
        """The banks of all processes."""
        return [self._bank, *self.others()]

    def _add(self, key: Key, count: int) -> None:
        cells = self._gauges.get(key)
        if cells is None:
            cells = self._gauges[key] = self._bank.cells(key)
        cells[0] += count

    def _set(self, key: Key, value: float) -> None:
        cells = self._gauges.get(key)
        if cells is None:
            cells = self._gauges[key] = self._bank.cells(key)
        cells[0] = value
