"""A sample of what was asked and answered as Parquet, for looking for drift later: bounded in bytes, without personal data.

`$MAESTRO_HOME/payloads/<model>/<version>/<time>-<process>-<number>.parquet` has a column for every feature that the contract does not call personal
(`pii`), under its own name, so that the file can be held against a reference as it is; beside them `at`, `arm`, `revision`, `prediction` and,
where the model gives scores, `score` (of the last class), each with `maestro_` before it where a feature has the same name. Who a row is about is not written.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from maestro.core.clock import Clock
from maestro.core.contract import ModelContract
from maestro.core.model import format_time
from maestro.serving import arrow
from maestro.serving.sampling import Sample
from maestro.serving.table import Batch

log = logging.getLogger(__name__)

FLUSH_S = 5.0
BURST_S = 10.0
"""Seconds of its rate that may be kept at once."""
MAX_TEXT = 256
"""Characters of a text that are kept."""
MAX_WAITING = 10_000
"""Rows that may wait to be written."""


class PayloadLog:
    """Keeps rows of the samples that it is offered, at most so many a second. Full queues and failed writes drop and count, and never wait.

    Args:
        folder: `$MAESTRO_HOME/payloads`; one process writes it.
        rows_per_s: on average; 0 keeps none and starts nothing.
        max_bytes: of all files; the oldest are removed first.
        now: a monotonic clock in seconds.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        rows_per_s: float,
        max_bytes: int,
        flush_s: float = FLUSH_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self._folder = folder
        self._clock = clock
        self._rate = rows_per_s
        self._max_bytes = max_bytes
        self._flush_s = flush_s
        self._now = now
        self._allowed = rows_per_s * BURST_S
        self._looked = now()
        self._queue: deque[tuple[str, int, Sample]] = deque()
        self._put = self._taken = 0  # rows; each is written by one thread
        self._process = secrets.token_hex(4)
        self._number = 0
        self._stop = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="payloads", daemon=True)
        if rows_per_s > 0:
            self._thread.start()

    def offer(self, sample: Sample) -> None:
        """Keep the first rows of a sample, as many as the rate allows; called on the event loop's thread."""
        if self._rate <= 0 or sample.batch is None or sample.contract is None:
            return
        now = self._now()
        self._allowed = min(self._allowed + (now - self._looked) * self._rate, max(1.0, self._rate * BURST_S))
        self._looked = now
        count = min(len(sample.values), int(self._allowed))
        if count < 1:
            return
        if self._put - self._taken + count > MAX_WAITING:
            self.dropped += count
            return
        self._allowed -= count
        self._put += count
        self._queue.append((format_time(self._clock.now()), count, sample))

    def flush(self) -> None:
        """Write what waits, then hold the folder within its bytes."""
        with self._writing:
            groups: dict[tuple[str, str], list[tuple[str, int, Sample]]] = {}
            for _ in range(len(self._queue)):
                entry = self._queue.popleft()
                self._taken += entry[1]
                groups.setdefault((entry[2].model, entry[2].version), []).append(entry)
            for (model, version), entries in groups.items():
                self._write(model, version, entries)
            if groups:
                self._shrink()

    def close(self) -> None:
        """Write what waits and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self.flush()

    def _run(self) -> None:
        while not self._stop.wait(self._flush_s):
            try:
                self.flush()
            except Exception:  # the writer must outlive any one file
                log.exception("payloads could not be written")

    def _write(self, model: str, version: str, entries: list[tuple[str, int, Sample]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._number += 1
        folder = self._folder / model / version
        stamp = entries[0][0].replace(":", "").replace("-", "").replace(".", "")
        target = folder / f"{stamp}-{self._process}-{self._number:06d}.parquet"
        temporary = target.with_suffix(".parquet.partial")
        try:
            columns = columns_of(entries)
            arrays = [_array(pa, values) for values in columns.values()]
            table = pa.Table.from_arrays(arrays, names=list(columns))
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with temporary.open("wb") as file:
                os.chmod(file.fileno(), 0o600)
                pq.write_table(table, file)
            temporary.replace(target)
        except Exception:  # whatever went wrong, these rows are gone and must be counted
            with contextlib.suppress(OSError):
                temporary.unlink()
            self.dropped += sum(count for _, count, _ in entries)
            log.exception("payloads of %s could not be written", model)

    def _shrink(self) -> None:
        files = sorted(self._folder.glob("*/*/*.parquet"), key=lambda path: path.name)
        sizes = [path.stat().st_size for path in files]
        excess = sum(sizes) - self._max_bytes
        for path, size in zip(files, sizes, strict=True):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size


def columns_of(entries: list[tuple[str, int, Sample]]) -> dict[str, list[Any]]:
    """Rows as columns: the features that the contract lets out, then what is said about each row.

    Args:
        entries: time, number of rows and sample; all of one version.
    """
    contract = next(sample.contract for _, _, sample in entries if sample.contract is not None)
    columns: dict[str, list[Any]] = {}
    for position, feature in enumerate(contract.features):
        if not feature.pii:
            text = feature.type == "string"
            columns[feature.name] = [
                value for _, count, sample in entries for value in _column(sample.batch, position, count, text=text)
            ]
    said: dict[str, list[Any]] = {"at": [], "arm": [], "revision": [], "prediction": [], "score": []}
    for at, count, sample in entries:
        said["at"] += [at] * count
        said["arm"] += [sample.arm] * count
        said["revision"] += [sample.revision] * count
        said["prediction"] += [_answer(value) for value in sample.values[:count]]
        said["score"] += [None] * count if sample.scores is None else sample.scores[:count, -1].tolist()
    if all(score is None for score in said["score"]):
        del said["score"]
    taken = set(_names(contract))
    return columns | {f"maestro_{name}" if name in taken else name: values for name, values in said.items()}


def _names(contract: ModelContract) -> list[str]:
    return [feature.name for feature in contract.features]


def _column(batch: Batch | None, position: int, count: int, *, text: bool) -> list[Any]:
    assert batch is not None  # noqa: S101 - offered with its rows
    values = batch.column(position)[:count]
    if text:
        return [None if value is None else str(value)[:MAX_TEXT] for value in values.tolist()]
    return [None if np.isnan(value) else value for value in values.tolist()]


def _answer(value: Any) -> Any:
    return value if isinstance(value, int | float) else str(value)[:MAX_TEXT]


def _array(pa: Any, values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in known):
        return arrow.texts(pa, [None if value is None else str(value) for value in values])
    if len(known) == len(values) and all(type(value) is int for value in known):
        return arrow.wholes(pa, values)
    return arrow.numbers(pa, values)
