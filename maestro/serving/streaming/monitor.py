"""Watches a sample of the traffic of every model in a thread of its own."""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from maestro.core.seams import Alert
from maestro.serving.graph._base import Observation
from maestro.serving.streaming.stream import Stream

log = logging.getLogger(__name__)

PREDICTION = "prediction"
"""The column of the answers: the score of the last class, or the value."""
MAX_STREAMS = 2000
Key = tuple[str, ...]


class StreamMonitor:
    """Takes one row of every `every`-th request; a full queue drops and counts.

    For each numeric column that the contract lets out, and for the answer, of each model and version it keeps a stream. A signal is counted
    (`maestro_drift_signals_total`), logged and handed to `alert`; `maestro_drift_share` is the share of columns that signalled since the version began to
    answer, `maestro_drift_effect` how far the newest values are from the first. The dataset is called `<model>@<version>`.

    Args:
        detector: cusum, adwin, page-hinkley or kswin.
        every: requests of which one is looked at.
        alert: called from the monitor's thread.
        limit: rows that may wait.
        flush_s: between two looks at the queue, in seconds.
    """

    def __init__(
        self,
        *,
        detector: str = "cusum",
        every: int = 1,
        alert: Callable[[Alert], Any] = lambda alert: None,
        limit: int = 10_000,
        flush_s: float = 1.0,
    ) -> None:
        self.dropped = 0
        self._detector = detector
        self._every = every
        self._alert = alert
        self._flush_s = flush_s
        self._limit = limit
        self._turn = 0
        self._queue: deque[tuple[str, str, dict[str, float]]] = deque()
        self._streams: dict[tuple[str, str], dict[str, Stream]] = {}
        self._count = 0
        self.signals: Counter[tuple[str, str]] = Counter()
        self._stop = threading.Event()
        self._taking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
        self._thread.start()

    def observe(self, model: str, seen: Observation) -> None:
        """Queue a row, or not; called on the hot path."""
        self._turn += 1
        if self._turn % self._every or seen.prediction is None:
            return
        if len(self._queue) >= self._limit:
            self.dropped += 1
            return
        self._queue.append((model, seen.version, _numbers(seen)))

    def flush(self) -> None:
        """Take what waits."""
        with self._taking:
            waiting: dict[tuple[str, str], dict[str, list[float]]] = {}
            for _ in range(len(self._queue)):
                model, version, row = self._queue.popleft()
                columns = waiting.setdefault((model, version), {})
                for column, value in row.items():
                    columns.setdefault(column, []).append(value)
            for (model, version), columns in waiting.items():
                self._take(model, version, columns)

    def series(self) -> list[tuple[str, list[tuple[Key, float]]]]:
        """What is exported."""
        shares: list[tuple[Key, float]] = []
        effects: list[tuple[Key, float]] = []
        for (model, version), columns in list(self._streams.items()):
            dataset = f"{model}@{version}"
            shares.append(((dataset,), sum(stream.drifted for stream in columns.values()) / len(columns)))
            for column, stream in list(columns.items()):
                effect = stream.effect()
                if effect is not None:
                    effects.append(((dataset, column), effect))
        return [
            ("maestro_drift_share", shares),
            ("maestro_drift_effect", effects),
            ("maestro_drift_signals_total", [(key, float(count)) for key, count in list(self.signals.items())]),
        ]

    def close(self) -> None:
        """Take what waits and stop."""
        self._stop.set()
        self._thread.join(timeout=10)
        self.flush()

    def _take(self, model: str, version: str, columns: dict[str, list[float]]) -> None:
        streams = self._streams.setdefault((model, version), {})
        for column, values in columns.items():
            stream = streams.get(column)
            if stream is None:
                if self._count >= MAX_STREAMS:
                    continue
                self._count += 1
                stream = streams[column] = Stream(self._detector)
            found = stream.take(values)
            if found:
                self._tell(model, version, column, stream, found)

    def _tell(self, model: str, version: str, column: str, stream: Stream, found: int) -> None:
        dataset = f"{model}@{version}"
        self.signals[dataset, column] += found
        effect = stream.effect()
        said = "" if effect is None else f"; distance from the first values {effect:.2f}"
        log.warning("%s: %s changed in served traffic (%s)%s", dataset, column, self._detector, said)
        try:
            self._alert(
                Alert(
                    title=f"{dataset}: {column} changed in served traffic",
                    body=f"the {self._detector} detector signalled{said}",
                    severity="warning",
                    source=f"drift/{dataset}/{column}",
                )
            )
        except Exception:  # a receiver that fails must not end the watch
            log.exception("an alert could not be sent")

    def _run(self) -> None:
        while not self._stop.wait(self._flush_s):
            try:
                self.flush()
            except Exception:  # the watch must outlive any one row
                log.exception("streams could not be looked at")


def _numbers(seen: Observation) -> dict[str, float]:
    row: dict[str, float] = {}
    if seen.batch is not None and seen.contract is not None:
        for position, feature in enumerate(seen.contract.features):
            if not feature.pii and feature.type != "string":
                value = float(seen.batch.column(position)[0])
                if math.isfinite(value):
                    row[feature.name] = value
    prediction = seen.prediction
    assert prediction is not None  # noqa: S101 - asked by the caller
    answer: Any = prediction.values[0] if prediction.scores is None else prediction.scores[0][-1]
    if isinstance(answer, int | float) and math.isfinite(answer):
        row[PREDICTION] = float(answer)
    return row
