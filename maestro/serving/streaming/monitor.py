"""Watches a sample of the traffic of every model in a thread of its own."""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from maestro.core.seams import Alert
from maestro.serving.sampling import Sample
from maestro.serving.streaming.stream import Stream

log = logging.getLogger(__name__)

PREDICTION = "prediction"
"""The column of the answers: the score of the last class, or the value."""
MAX_STREAMS = 2000
Key = tuple[str, ...]


class StreamMonitor:
    """Looks at the rows of the samples that it is offered; a full queue drops and counts.

    For each numeric column that the contract lets out, and for the answer, of each model and version it keeps a stream. A signal is counted
    (`maestro_drift_signals_total`), logged and handed to `alert`; `maestro_drift_share` is the share of columns that signalled since the version began to
    answer, `maestro_drift_effect` how far the newest values are from the first. The dataset is called `<model>@<version>`.

    Args:
        detector: cusum, adwin, page-hinkley or kswin.
        alert: called from the monitor's thread.
        limit: rows that may wait.
        flush_s: between two looks at the queue, in seconds.
    """

    def __init__(
        self,
        *,
        detector: str = "cusum",
        alert: Callable[[Alert], Any] = lambda alert: None,
        limit: int = 10_000,
        flush_s: float = 1.0,
    ) -> None:
        self.dropped = 0
        self._detector = detector
        self._alert = alert
        self._flush_s = flush_s
        self._limit = limit
        self._put = self._taken = 0  # rows; each is written by one thread
        self._queue: deque[Sample] = deque()
        self._streams: dict[tuple[str, str], dict[str, Stream]] = {}
        self._count = 0
        self.signals: Counter[tuple[str, str]] = Counter()
        self._stop = threading.Event()
        self._taking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
        self._thread.start()

    def offer(self, sample: Sample) -> None:
        """Queue rows, or not; called on the event loop's thread."""
        count = len(sample.values)
        if self._put - self._taken + count > self._limit:
            self.dropped += count
            return
        self._put += count
        self._queue.append(sample)

    def flush(self) -> None:
        """Take what waits."""
        with self._taking:
            waiting: dict[tuple[str, str], dict[str, list[float]]] = {}
            for _ in range(len(self._queue)):
                sample = self._queue.popleft()
                self._taken += len(sample.values)
                columns = waiting.setdefault((sample.model, sample.version), {})
                for column, values in _numbers(sample):
                    if values:
                        columns.setdefault(column, []).extend(values)
            for (model, version), columns in waiting.items():
                self._take(model, version, columns)

    def series(self) -> list[tuple[str, list[tuple[Key, float]]]]:
        """What is exported."""
        shares: list[tuple[Key, float]] = []
        effects: list[tuple[Key, float]] = []
        for (model, version), columns in list(self._streams.items()):
            if not columns:
                continue
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


def _numbers(sample: Sample) -> Iterator[tuple[str, list[float]]]:
    """The finite numbers of each column that the contract lets out, and of the answer."""
    if sample.batch is not None and sample.contract is not None:
        for position, feature in enumerate(sample.contract.features):
            if not feature.pii and feature.type != "string":
                values = sample.batch.column(position)
                yield feature.name, values[np.isfinite(values)].tolist()
    answers: list[Any] = sample.values if sample.scores is None else sample.scores[:, -1].tolist()
    yield PREDICTION, [float(value) for value in answers if isinstance(value, int | float) and math.isfinite(value)]
