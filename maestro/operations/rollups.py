"""From scrapes to hourly roll-ups: good and all events of each SLO, and the time of which nothing is known.

A scrape that fails is an observation: the server did not answer (bad for a time slice, unknown for events). A scrape that nobody made is a gap. Events are
counted in the hour of the scrape that shows them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from maestro.clients.database import Database
from maestro.clients.exposition import Samples, Series, scrape
from maestro.core.clock import Clock
from maestro.core.errors import Unreachable
from maestro.operations.counters import START, Increase, counters, increase
from maestro.operations.slo import TRAFFIC, Slo
from maestro.operations.store import RollupStore

HOUR = timedelta(hours=1)


class SloRecorder:
    """Records one source (a model server). Several recorders may watch the same source: they take turns on its cursor.

    Args:
        database: where roll-ups go.
        slos: what is recorded.
        source: the server's address; also the cursor's name.
        clock: dates the scrapes.
        started: when the source's process began, where the caller knows; what it counted before the first scrape is then known to lie after that.
    """

    def __init__(
        self, database: Database, slos: Sequence[Slo], source: str, clock: Clock, started: datetime | None = None
    ) -> None:
        self._database, self._slos, self._source, self._clock = database, tuple(slos), source, clock
        self._started = started
        self._store = RollupStore()

    def scrape(self) -> bool:
        """Look at the source once; gives whether it answered.

        Raises:
            Unreachable: the database is gone.
        """
        try:
            samples: Samples | None = scrape(self._source)
        except Unreachable:
            samples = None
        self.record(self._clock.now(), samples)
        return samples is not None

    def record(self, at: datetime, samples: Samples | None) -> None:
        """Take one observation; None says that the source did not answer. An observation older than the last one is ignored."""
        with self._database.begin() as connection:
            before, state = self._store.cursor(connection, self._source)
            if before is not None and at <= before:
                return
            seen = _load(state.get("counters"))
            now = counters(samples) if samples is not None else None
            moved, since = self._increase(samples, now, seen, state)
            restarted = moved is not None and moved.restarted
            slices = dict(state.get("slices", {}))
            for slo in self._slos:
                good, total = _events(slo, moved)
                if slo.slice_s is None:
                    if moved is not None:
                        self._watched(connection, slo.name, since, at, known=not restarted)
                    if total:
                        self._store.add(connection, slo.name, _hour(at), good=good, total=total)
                else:
                    share = slo.spec.objectives[0].timeSliceTarget
                    fine = samples is not None and (total == 0 or good >= (share or 1.0) * total)
                    slices[slo.name] = self._slice(connection, slo.name, slo.slice_s, slices.get(slo.name), at, fine)
            if moved is not None:
                self._traffic(connection, at, since, moved)
            kept = now if now is not None else seen
            self._store.move(
                connection,
                self._source,
                at,
                {
                    "counters": _dump(kept),
                    "slices": slices,
                    "process": samples.get(START) if samples is not None else state.get("process"),
                    "answered": at.timestamp() if samples is not None else state.get("answered"),
                },
            )

    def _increase(
        self,
        samples: Samples | None,
        now: dict[Series, int] | None,
        seen: dict[Series, int] | None,
        state: dict[str, Any],
    ) -> tuple[Increase | None, datetime | None]:
        """What was counted, and since when: the last scrape that was answered, since counters tell of failed ones too."""
        if samples is None or now is None:
            return None, None
        process = samples.get(START)
        if seen is None:
            began = datetime.fromtimestamp(process, UTC) if process is not None else self._started
            return (Increase(now, restarted=False), began) if began is not None else (Increase({}, False), None)
        other = process is not None and state.get("process") is not None and process != state["process"]
        return increase(seen, now, restarted=other), datetime.fromtimestamp(state["answered"], UTC)

    def _watched(self, connection: Connection, slo: str, since: datetime | None, at: datetime, *, known: bool) -> None:
        """Add the time from `since` to `at` to its hours, as known or as a gap."""
        at_hour = _hour(at)
        if since is None or since >= at:
            self._store.add(connection, slo, at_hour)
            return
        hour = _hour(since)
        while hour <= at_hour:
            seconds = (min(at, hour + HOUR) - max(since, hour)).total_seconds()
            if seconds > 0:
                self._store.add(connection, slo, hour, seconds=seconds, gap_seconds=0.0 if known else seconds)
            hour += HOUR

    def _slice(
        self, connection: Connection, slo: str, width: int, last: dict[str, Any] | None, at: datetime, fine: bool
    ) -> dict[str, Any]:
        """Count the time slice that `at` lies in; slices that nobody looked at since the last one are gaps."""
        index = int(at.timestamp()) // width
        if last is not None and last["index"] == index:
            if last["good"] and not fine:
                self._store.add(connection, slo, _hour(_slice_start(index, width)), good=-1)
            return {"index": index, "good": bool(last["good"] and fine)}
        if last is not None and index > last["index"] + 1:
            self._watched(
                connection, slo, _slice_start(last["index"] + 1, width), _slice_start(index, width), known=False
            )
        self._store.add(
            connection, slo, _hour(_slice_start(index, width)), good=int(fine), total=1, seconds=float(width)
        )
        return {"index": index, "good": fine}

    def _traffic(self, connection: Connection, at: datetime, since: datetime | None, moved: Increase) -> None:
        """Keep the counts that reports show: responses by status and latency, arms by outcome and latency."""
        counts: dict[str, dict[str, int]] = {}
        for (name, labels), count in moved.counts.items():
            # A bucket without new observations is kept: its bound is what bounds the next one from below.
            if not count and not name.endswith("_bucket"):
                continue
            label = dict(labels)
            if name == "maestro_responses_total":
                _add(counts, "statuses", label["status"], count)
            elif name == "maestro_response_latency_seconds_bucket":
                _add(counts, "buckets", label["le"], count)
            elif name in {"maestro_inference_requests_total", "maestro_inference_latency_seconds_bucket"}:
                arm = "|".join((label["model"], label["version"], label["arm"]))
                last = f"outcome|{label['outcome']}" if "outcome" in label else f"le|{label['le']}"
                _add(counts, "arms", f"{arm}|{last}", count)
        total = sum(counts.get("statuses", {}).values())
        self._store.add(
            connection, TRAFFIC, _hour(at), total=total, good=total, counts=counts,
            seconds=(at - since).total_seconds() if since is not None and at > since else 0.0,
        )  # fmt: skip


def recording(find: Callable[[], SloRecorder | None], interval_s: float) -> Iterator[None]:
    """Record in the background for as long as the generator is held.

    Args:
        find: makes the recorder; asked again at each turn until it gives one, since the server may start later.
        interval_s: seconds between two looks.
    """
    stop = threading.Event()

    def work() -> None:
        recorder: SloRecorder | None = None
        while not stop.is_set():
            # Nothing can be kept while the database is gone; the time becomes a gap.
            with contextlib.suppress(Unreachable):
                recorder = recorder or find()
                if recorder is not None:
                    recorder.scrape()
            stop.wait(interval_s)

    thread = threading.Thread(target=work, name="slo-recorder", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10.0)


def _events(slo: Slo, moved: Increase | None) -> tuple[int, int]:
    if moved is None:
        return 0, 0
    part, whole, counts_bad = slo.counters
    total = sum(count for series, count in moved.counts.items() if whole.matches(series))
    counted = min(sum(count for series, count in moved.counts.items() if part.matches(series)), total)
    return (total - counted if counts_bad else counted), total


def _add(counts: dict[str, dict[str, int]], group: str, name: str, count: int) -> None:
    counts.setdefault(group, {})[name] = counts.get(group, {}).get(name, 0) + count


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _slice_start(index: int, width: int) -> datetime:
    return datetime.fromtimestamp(index * width, UTC)


def _dump(values: dict[Series, int] | None) -> list[Any] | None:
    return (
        None if values is None else [[name, list(map(list, labels)), count] for (name, labels), count in values.items()]
    )


def _load(values: list[Any] | None) -> dict[Series, int] | None:
    if values is None:
        return None
    return {
        (name, tuple((str(key), str(value)) for key, value in labels)): int(count) for name, labels, count in values
    }
