"""First exposures as Parquet segments: a bounded queue, written by a thread of its own, each file whole or not there."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maestro.core.clock import Clock
from maestro.core.exposure import COLUMNS, reward_id_of
from maestro.core.model import format_time
from maestro.serving import arrow
from maestro.serving.forgetting import Forgetting
from maestro.serving.graph._base import Observation
from maestro.serving.graph.drawn import Drawn
from maestro.serving.units import UnitHasher

log = logging.getLogger(__name__)

FLUSH_S = 1.0
SEGMENT_ROWS = 20_000


class ExposureLog:
    """Records the first exposure of a unit for each experiment, version and revision. A full queue drops and counts, and never waits.

    A request that names no unit is a unit of its own.

    Args:
        folder: `$MAESTRO_HOME/exposures`; segments go to `<model>/<experiment>/`.
        limit: records that may wait.
    """

    def __init__(self, folder: Path, hasher: UnitHasher, clock: Clock, *, limit: int, flush_s: float = FLUSH_S) -> None:
        self.dropped = 0
        self._folder = folder
        self._hasher = hasher
        self._clock = clock
        self._limit = limit
        self._flush_s = flush_s
        self._queue: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._seen: dict[str, tuple[int, set[tuple[str, str, str]]]] = {}
        self._read: dict[str, tuple[int, set[tuple[str, str, str]]]] = {}
        self._forgetting = Forgetting()
        self._process = secrets.token_hex(4)
        self._number = 0
        self._stop = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="exposures", daemon=True)
        self._thread.start()

    def read(self, model: str, revision: int) -> None:
        """Read which units an earlier process has written for a revision. May be called from a worker thread, once at a time for a model."""
        known = self._seen.get(model)
        if known is None or known[0] != revision:
            self._read[model] = (revision, self._written(model, revision))

    def open(self, model: str, revision: int) -> None:
        """Begin a revision, at once where it has been read: units count as new, but for those that an earlier process has written for it."""
        known = self._seen.get(model)
        if known is not None and known[0] == revision:
            return
        read = self._read.pop(model, None)
        if read is None or read[0] != revision:
            read = (revision, self._written(model, revision))
        if known is not None:
            self._forgetting.add(known[1])
        self._seen[model] = read

    def observe(self, model: str, seen: Observation) -> None:
        """Queue what is a first exposure; called on the event loop's thread."""
        if seen.experiment is None:
            return
        self._forgetting.some(len(seen.units))
        revision, known = self._seen.get(model) or (seen.revision, set())
        if revision != seen.revision:
            known = set()  # a request that began on the revision before: its record may repeat, it is never lost
        drawn = seen.drawn if seen.drawn is not None and seen.drawn.experiment == seen.experiment else None
        for row, unit in enumerate(seen.units):
            text = unit.key(seen.key)
            if drawn is not None:
                name = drawn.names[row]  # what was drawn depends on it
            else:
                name = f"request-{secrets.token_hex(8)}" if text is None else self._hasher.hash(text)
            identity = (seen.experiment, name, seen.version)
            if text is not None:
                if identity in known:
                    continue
                known.add(identity)
            if len(self._queue) >= self._limit:
                self.dropped += 1
                continue
            self._queue.append((model, self._record(seen, row, name, drawn)))

    def flush(self) -> None:
        """Write what waits."""
        with self._writing:
            while self._queue:
                groups: dict[tuple[str, str, int], list[tuple[Any, ...]]] = {}
                for _ in range(min(len(self._queue), SEGMENT_ROWS)):
                    model, record = self._queue.popleft()
                    groups.setdefault((model, record[1], record[5]), []).append(record)
                for (model, experiment, revision), records in groups.items():
                    self._write(model, experiment, revision, records)

    def close(self) -> None:
        """Write what waits and stop."""
        self._stop.set()
        self._thread.join(timeout=10)
        self.flush()

    def _record(self, seen: Observation, row: int, unit: str, drawn: Drawn | None) -> tuple[Any, ...]:
        context = None if drawn is None else drawn.contexts[row]
        return (
            format_time(self._clock.now()),
            seen.experiment,
            unit,
            seen.arm,
            seen.version,
            seen.revision,
            None if drawn is None else drawn.snapshot,
            seen.propensity * (1.0 if drawn is None else drawn.propensities[row]),
            seen.context(row) if context is None else list(context),
            seen.latency_s,
            seen.outcome != "ok",
            reward_id_of(str(seen.experiment), unit, seen.version, seen.revision),
        )

    def _run(self) -> None:
        while not self._stop.wait(self._flush_s):
            try:
                self.flush()
            except Exception:  # the writer must outlive any one segment
                log.exception("exposures could not be written")

    def _write(self, model: str, experiment: str, revision: int, records: list[tuple[Any, ...]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = self._folder / model / experiment
        self._number += 1
        target = folder / f"r{revision:08d}-{self._process}-{self._number:06d}.parquet"
        temporary = target.with_suffix(".parquet.partial")
        try:
            columns = zip(COLUMNS, zip(*records, strict=True), strict=True)
            table = pa.Table.from_arrays([_column(pa, name, values) for name, values in columns], names=list(COLUMNS))
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with temporary.open("wb") as file:
                pq.write_table(table, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except Exception:  # whatever went wrong, these records are gone and must be counted
            with contextlib.suppress(OSError):
                temporary.unlink()
            self.dropped += len(records)
            log.exception("%d exposures were lost", len(records))

    def _written(self, model: str, revision: int) -> set[tuple[str, str, str]]:
        found: set[tuple[str, str, str]] = set()
        paths = sorted((self._folder / model).glob(f"*/r{revision:08d}-*.parquet"))
        if not paths:
            return found
        import pyarrow.parquet as pq  # its library is large, and most servers begin with nothing to read

        for path in paths:
            try:
                table = pq.read_table(path, columns=["experiment", "unit", "version"])
            except (OSError, ValueError):
                log.warning("segment %s cannot be read; its units may be recorded again", path)
                continue
            found.update(
                zip(*(table.column(name).to_pylist() for name in ("experiment", "unit", "version")), strict=True)
            )
        return found


_TEXT = frozenset(["at", "experiment", "unit", "arm", "version", "snapshot", "reward_id"])


def _column(pa: Any, name: str, values: Sequence[Any]) -> Any:
    if name in _TEXT:
        return arrow.texts(pa, values)
    if name == "context":
        return arrow.vectors(pa, values)
    if name == "error":
        return arrow.truths(pa, values)
    return arrow.wholes(pa, values) if name == "revision" else arrow.numbers(pa, values)
