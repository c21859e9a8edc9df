"""The SLA report: what was promised, what was recorded, and what is not known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from maestro.clients.database import Database, open_database
from maestro.clients.database.migrate import require_current
from maestro.clients.home import Home, database_url
from maestro.core.clock import Clock, SystemClock
from maestro.core.decision import DecisionRecord, Subject, Verdict
from maestro.core.errors import BadInput, Unreachable
from maestro.core.model import format_time
from maestro.core.settings import Settings, settings
from maestro.decisions.slo import Rollup, SloStatus, assess
from maestro.monitoring.latency import QuantileBounds, quantile_bounds
from maestro.operations.rollups import SloRecorder
from maestro.operations.slo import TRAFFIC, Slo, load_slos, slos_digest
from maestro.operations.store import HourRollup, RollupStore

KIND = "slo"

FRESH_S = 60.0
"""A last scrape older than this leaves a gap up to now."""

_VERDICTS = {"compliant": Verdict.PASS, "breached": Verdict.FAIL, "unknown": Verdict.FREEZE}


class SLAMonitor:
    """Reports on the SLOs from recorded roll-ups. On a laptop it finds the database and the server by itself.

    Args:
        database: the platform database; the one of the settings by default.
        slo_file: the SLO file; `MAESTRO_SLO_FILE` by default.
        source: the server to look at once before the report; the running one by default, none when nothing runs.
        clock: dates the report.

    Raises:
        Unreachable: no platform is set up here.
        BadInput: the SLO file is wrong.
    """

    def __init__(
        self,
        database: Database | None = None,
        slo_file: Path | None = None,
        source: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.slos = load_slos(slo_file or settings().slo_file)
        self.clock: Clock = clock or SystemClock()
        self.database = database or _own_database()
        self._store = RollupStore()
        self.recorder = (
            SloRecorder(self.database, self.slos, source.rstrip("/"), self.clock)
            if source
            else running_recorder(self.database, self.slos, self.clock)
        )

    def generate_report(self, window: timedelta | None = None, *, look: bool = True) -> dict[str, Any]:
        """The report over a rolling window (each SLO's own by default).

        `compliant` is True only when every objective is known to be met; `verdict` tells breached from unknown.

        Args:
            window: up to now, from the beginning of the hour in which it begins; at least a minute.
            look: look at the running server first, so that the report includes the present.

        Raises:
            Unreachable: the database is gone.
            BadInput: a window below a minute.
        """
        if window is not None and window < timedelta(minutes=1):
            raise BadInput("the window is shorter than a minute", field="window", remedy="give 1h, 7d or 30d")
        if look and self.recorder is not None:
            self.recorder.scrape()
        now = self.clock.now()
        with self.database.read() as connection:
            answered = self._store.answered(connection)
            judged = [
                (slo, self._rollups(connection, slo, now, window or timedelta(seconds=slo.window_s), answered))
                for slo in self.slos
            ]
            longest = window or timedelta(seconds=max(slo.window_s for slo in self.slos))
            traffic = self._store.rollups(connection, TRAFFIC, _hour(now - longest), now)
        statuses = [(slo, rollups, assess(slo.target, rollups)) for slo, rollups in judged]
        return self._document(statuses, traffic, now, longest, answered)

    def _rollups(
        self, connection: Connection, slo: Slo, now: datetime, window: timedelta, answered: datetime | None
    ) -> list[Rollup]:
        """The window's hours, those that nobody recorded as gaps."""
        found = self._store.rollups(connection, slo.name, _hour(now - window), now)
        rollups = [_rollup(hour) for hour in found]
        for earlier, later in itertools.pairwise(found):
            missing = int((later.hour - earlier.hour).total_seconds()) - 3600
            if missing > 0:
                rollups.append(Rollup(good=0, total=0, seconds=missing, gap_s=missing))
        since = math.floor((now - answered).total_seconds()) if answered is not None else 0
        if found and since > FRESH_S:
            rollups.append(Rollup(good=0, total=0, seconds=since, gap_s=since))
        return rollups

    def _document(
        self,
        statuses: Sequence[tuple[Slo, list[Rollup], SloStatus]],
        traffic: Sequence[HourRollup],
        now: datetime,
        window: timedelta,
        answered: datetime | None,
    ) -> dict[str, Any]:
        verdicts = [status.verdict for _, _, status in statuses]
        verdict = next((each for each in ("breached", "unknown") if each in verdicts), "compliant")
        by_name = {slo.name: status for slo, _, status in statuses}
        buckets = _merged(traffic, "buckets")
        responses = _merged(traffic, "statuses")
        total = sum(responses.values())
        errors = sum(count for status, count in responses.items() if status.startswith("5"))
        seconds = sum(hour.seconds for hour in traffic)
        availability = by_name.get("availability")
        budgets = [status.budget_left for status in by_name.values() if status.budget_left is not None]
        return {
            "schema": "maestro.sla-report/1",
            "at": format_time(now),
            "window": {"from": format_time(_hour(now - window)), "to": format_time(now)},
            "last_answer": format_time(answered) if answered is not None else None,
            "compliant": verdict == "compliant",
            "verdict": verdict,
            "availability": availability.availability if availability is not None else None,
            "p95": _bounds(quantile_bounds(buckets, 0.95) if buckets else None),
            "p99": _bounds(quantile_bounds(buckets, 0.99) if buckets else None),
            "error_rate": errors / total if total else None,
            "error_budget_left": min(budgets) if budgets else None,
            "gap_seconds": max((status.gap_s for status in by_name.values()), default=0),
            "requests": total,
            "throughput_per_s": total / seconds if seconds else None,
            "responses": responses,
            "objectives": [
                {"name": slo.name, "service": slo.spec.service, "method": slo.spec.budgetingMethod, **status.document()}
                for slo, _, status in statuses
            ],
            "models": _models(_merged(traffic, "arms"), seconds),
            "slo_file": slos_digest(self.slos),
            "rollups": {
                slo.name: [[each.good, each.total, each.seconds, each.gap_s] for each in rollups]
                for slo, rollups, _ in statuses
            },
        }


def running_recorder(
    database: Database, slos: tuple[Slo, ...], clock: Clock, options: Settings | None = None
) -> SloRecorder | None:
    """The recorder of the server that runs on this machine or that the settings name; None when there is none."""
    options = options or settings()
    state = Home.of(options).read_state()
    service = state.services.get("server") if state is not None else None
    url = options.server_url or (service.url if service is not None else None)
    if url is None:
        return None
    # What the supervisor's own server counted lies after the supervisor's start.
    own = service is not None and service.url == url
    return SloRecorder(database, slos, url.rstrip("/"), clock, state.started if state is not None and own else None)


def slo_decision(report: dict[str, Any]) -> dict[str, Any]:
    """The parts of a decision record of kind `slo`: subject, inputs (integers and the targets), verdict and reasons."""
    return {
        "kind": KIND,
        "subject": Subject(model=report["objectives"][0]["service"], version=report["at"], digest=report["slo_file"]),
        "inputs": {
            "targets": {each["name"]: each["objective"] for each in report["objectives"]},
            "rollups": report["rollups"],
        },
        "verdict": _VERDICTS[report["verdict"]],
        "reasons": tuple(
            {"slo": each["name"], "verdict": each["verdict"], "reason": each["reason"]} for each in report["objectives"]
        ),
    }


def replay_slo(record: DecisionRecord) -> Verdict:
    """Judge the roll-ups of a record again.

    Raises:
        BadInput: the record's inputs are not those of an SLO report.
    """
    try:
        targets: dict[str, float] = record.inputs["targets"]
        verdicts = {
            assess(
                targets[name],
                [Rollup(good=good, total=total, seconds=seconds, gap_s=gap) for good, total, seconds, gap in rollups],
            ).verdict
            for name, rollups in record.inputs["rollups"].items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"record {record.id} does not hold the inputs of an SLO report: {error}", field="inputs"
        ) from None
    for word in ("breached", "unknown"):
        if word in verdicts:
            return _VERDICTS[word]
    return Verdict.PASS


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _own_database() -> Database:
    url = database_url()
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise Unreachable(
            "no platform is set up here, so nothing was recorded", remedy="run `make up`", component="database"
        )
    database = open_database(url)
    require_current(database)
    return database


def _rollup(hour: HourRollup) -> Rollup:
    seconds = max(math.ceil(hour.seconds), 1)
    return Rollup(good=hour.good, total=hour.total, seconds=seconds, gap_s=min(math.ceil(hour.gap_seconds), seconds))


def _merged(traffic: Sequence[HourRollup], group: str) -> dict[str, int]:
    merged: dict[str, int] = {}
    for hour in traffic:
        for name, count in hour.details.get(group, {}).items():
            merged[name] = merged.get(name, 0) + int(count)
    return merged


def _bounds(bounds: QuantileBounds | None) -> dict[str, float | None] | None:
    return None if bounds is None else {"lower_s": bounds.lower_s, "upper_s": bounds.upper_s}


def _models(arms: dict[str, int], seconds: float) -> list[dict[str, Any]]:
    """Requests, throughput, errors and latency of each arm (an arm's own first attempts, whatever the caller got)."""
    found: dict[tuple[str, str, str], dict[str, dict[str, int]]] = {}
    for key, count in arms.items():
        model, version, arm, kind, value = key.split("|")
        found.setdefault((model, version, arm), {"outcome": {}, "le": {}})[kind][value] = count
    rows = []
    for (model, version, arm), counts in sorted(found.items()):
        requests = sum(counts["outcome"].values())
        errors = requests - counts["outcome"].get("ok", 0)
        rows.append(
            {
                "model": model,
                "version": version,
                "arm": arm,
                "requests": requests,
                "throughput_per_s": requests / seconds if seconds else None,
                "error_rate": errors / requests if requests else None,
                "outcomes": counts["outcome"],
                "p95": _bounds(quantile_bounds(counts["le"], 0.95) if counts["le"] else None),
                "p99": _bounds(quantile_bounds(counts["le"], 0.99) if counts["le"] else None),
            }
        )
    return rows
