"""The control plane's own metrics, read from the platform database when Prometheus asks: jobs, trials, drift, rollouts, cost, what waits.

Every instance of the control plane reads the same rows, so that several of them tell the same numbers: take the maximum over instances, not the sum.
Counts of ended jobs begin at zero with the process, as counters do; cost and trials are never deleted and are told whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection, case, func, select

from maestro.clients.database import Database
from maestro.clients.database.schema.core import outbox
from maestro.clients.database.schema.governance import approvals, rollouts
from maestro.clients.database.schema.operations import cost_entries, drift_reports, slo_rollups
from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.clients.database.schema.tuning import ai_hpo_trials as trials
from maestro.core.clock import Clock
from maestro.core.errors import Unreachable
from maestro.core.jobs import JobStatus
from maestro.core.money import MICROS_PER_USD
from maestro.observability.readings import Distribution, Sample

ACTED_ON = ("job.completed", "version.registered", "rollout.finished")
"""Kinds of events that a subscriber acts on."""

_LATE = timedelta(seconds=60)
"""An end may be written this long after the time it bears."""

_UNDECIDED = ("running", "frozen")


class PlatformReadings:
    """Reads one database. Not thread-safe: one scrape at a time, as the registry's collectors are asked.

    Args:
        database: the platform database.
        clock: dates ages; jobs that ended before its present instant are not counted.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._since = clock.now()
        self._seen: dict[str, datetime] = {}
        self._took: dict[tuple[str, str], Distribution] = {}

    def __call__(self) -> Iterator[Sample | Distribution]:
        """Every sample; of a database that does not answer only that it does not."""
        try:
            with self._database.read() as connection:
                found = [*self._jobs(connection), *self._monitoring(connection), *self._governance(connection)]
        except Unreachable:
            yield Sample("maestro_database_up", (), 0.0)
            return
        yield Sample("maestro_database_up", (), 1.0)
        yield from found
        yield from self._took.values()

    def _jobs(self, connection: Connection) -> Iterator[Sample]:
        now = self._clock.now()
        grouped = select(jobs.c.status, jobs.c.priority, jobs.c.backend, func.count()).group_by(
            jobs.c.status, jobs.c.priority, jobs.c.backend
        )
        for status, priority, backend, count in connection.execute(grouped):
            yield Sample("maestro_jobs", (status, priority, backend), count)
        waiting = (
            select(jobs.c.priority, func.min(jobs.c.created_at))
            .where(jobs.c.status == JobStatus.QUEUED)
            .group_by(jobs.c.priority)
        )
        for priority, oldest in connection.execute(waiting):
            yield Sample("maestro_queue_oldest_seconds", (priority,), max(0.0, (now - oldest).total_seconds()))
        self._ended(connection)
        for state, count in connection.execute(select(trials.c.state, func.count()).group_by(trials.c.state)):
            yield Sample("maestro_hpo_trials_total", (state,), count)

    def _ended(self, connection: Connection) -> None:
        """Count the jobs that ended since the last look, those that were told late included."""
        newest = max(self._seen.values(), default=self._since)
        after = max(self._since, newest - _LATE)
        rows = connection.execute(
            select(jobs.c.id, jobs.c.model_type, jobs.c.status, jobs.c.started_at, jobs.c.finished_at).where(
                jobs.c.status.in_([status for status in JobStatus if status.is_final]), jobs.c.finished_at > after
            )
        )
        for job, model_type, status, started, finished in rows:
            if job in self._seen:
                continue
            self._seen[job] = finished
            if started is not None:
                took = self._took.setdefault(
                    (model_type, status), Distribution("maestro_job_duration_seconds", (model_type, status))
                )
                took.observe((finished - started).total_seconds())
        horizon = max(self._seen.values(), default=self._since) - _LATE
        self._seen = {job: finished for job, finished in self._seen.items() if finished >= horizon}

    def _monitoring(self, connection: Connection) -> Iterator[Sample]:
        latest = select(drift_reports.c.dataset, func.max(drift_reports.c.at).label("at")).group_by(
            drift_reports.c.dataset
        )
        newest = latest.subquery()
        rows = connection.execute(
            select(drift_reports.c.dataset, drift_reports.c.at, drift_reports.c.share, drift_reports.c.report).join(
                newest, (drift_reports.c.dataset == newest.c.dataset) & (drift_reports.c.at == newest.c.at)
            )
        )
        told: set[str] = set()
        for dataset, at, share, report in rows:
            if dataset in told:
                continue
            told.add(dataset)
            yield Sample("maestro_drift_share", (dataset,), share)
            yield Sample("maestro_drift_checked_timestamp_seconds", (dataset,), at.timestamp())
            verdict = ((report or {}).get("check") or {}).get("verdict") or {}
            for column in verdict.get("columns", ()):
                yield Sample("maestro_drift_effect", (dataset, column["column"]), column["effect"])
        day = self._clock.now() - timedelta(hours=24)
        gaps = (
            select(slo_rollups.c.slo, func.sum(slo_rollups.c.gap_seconds))
            .where(slo_rollups.c.hour >= day)
            .group_by(slo_rollups.c.slo)
        )
        for slo, seconds in connection.execute(gaps):
            yield Sample("maestro_slo_gap_seconds", (slo,), seconds)

    def _governance(self, connection: Connection) -> Iterator[Sample]:
        now = self._clock.now()
        by_status = select(rollouts.c.model, rollouts.c.status, func.count()).group_by(
            rollouts.c.model, rollouts.c.status
        )
        for model, status, count in connection.execute(by_status):
            yield Sample("maestro_rollouts", (model, status), count)
        open_ones = select(rollouts.c.model, func.max(rollouts.c.weight), func.min(rollouts.c.created_at)).where(
            rollouts.c.status.in_(_UNDECIDED)
        )
        weights = dict.fromkeys(connection.execute(select(rollouts.c.model).distinct()).scalars(), 0.0)
        for model, weight, began in connection.execute(open_ones.group_by(rollouts.c.model)):
            # a rung is a percentage, the metric a share
            weights[model] = weight / 100.0
            yield Sample("maestro_rollout_age_seconds", (model,), max(0.0, (now - began).total_seconds()))
        yield from (Sample("maestro_rollout_weight", (model,), weight) for model, weight in weights.items())
        pending = select(func.count()).select_from(approvals).where(approvals.c.status == "pending")
        yield Sample("maestro_approvals_pending", (), connection.execute(pending).scalar_one())
        waiting = (
            select(func.count()).select_from(outbox).where(outbox.c.delivered_at.is_(None), outbox.c.kind.in_(ACTED_ON))
        )
        yield Sample("maestro_outbox_undelivered", (), connection.execute(waiting).scalar_one())
        yield from self._cost(connection)

    def _cost(self, connection: Connection) -> Iterator[Sample]:
        """What was used, by kind, and what stood idle of all that was billed; the parts add up to the bill."""
        studies = select("job/" + jobs.c.id).where(jobs.c.model_type == "study")
        kind = case(
            ((cost_entries.c.kind == "training") & cost_entries.c.subject.in_(studies), "tuning"),
            else_=cost_entries.c.kind,
        )
        rows = connection.execute(
            select(
                kind.label("what"), func.sum(cost_entries.c.used_usd_micros), func.sum(cost_entries.c.bill_usd_micros)
            ).group_by("what")
        )
        idle = 0
        for what, used, bill in rows:
            idle += int(bill) - int(used)
            yield Sample("maestro_cost_usd_total", (what,), int(used) / MICROS_PER_USD)
        yield Sample("maestro_cost_usd_total", ("idle",), idle / MICROS_PER_USD)
