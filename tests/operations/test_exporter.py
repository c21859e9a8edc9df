"""The control plane's metrics are what the database says, on both kinds of database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from maestro.clients.database import Database
from maestro.clients.database.outbox import append_event
from maestro.clients.database.schema.governance import approvals, policies, rollouts
from maestro.clients.database.schema.operations import cost_entries, drift_reports, slo_rollups
from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.clients.database.schema.tuning import ai_hpo_studies, ai_hpo_trials
from maestro.clients.exposition import Samples, parse_exposition
from maestro.core.clock import ManualClock
from maestro.observability.metrics import MetricSet
from maestro.observability.readings import Readings
from maestro.operations.exporter import PlatformReadings


def _job(clock: ManualClock, name: str, **other: Any) -> dict[str, Any]:
    return {
        "id": name, "tenant_id": "t", "name": name, "model_type": "classifier", "priority": "high", "priority_rank": 1,
        "backend": "local", "status": "queued", "request": {}, "request_digest": "sha256:" + "0" * 64,
        "submitted_by": "human:a", "created_at": clock.now(),
    } | other  # fmt: skip


def _rollout(clock: ManualClock, name: str, status: str, weight: float) -> dict[str, Any]:
    return {
        "id": name, "model": "m", "challenger": name, "strategy": "canary", "policy_digest": "sha256:" + "1" * 64,
        "status": status, "step": "watch", "rung": 0, "weight": weight, "state": {}, "started_by": "human:a",
        "created_at": clock.now(),
    }  # fmt: skip


def _cost(subject: str, kind: str, used: int, bill: int, clock: ManualClock) -> dict[str, Any]:
    return {
        "at": clock.now(), "kind": kind, "subject": subject, "attempt": "1.1", "tenant_id": "t", "wall_s": 1.0, "cpu_s": 1.0,
        "allocated": {}, "used_usd_micros": used, "bill_usd_micros": bill, "rates": "2026-01",
    }  # fmt: skip


class Exported:
    def __init__(self, database: Database, clock: ManualClock) -> None:
        self._metrics = MetricSet(process=False)
        self._metrics.read_when_asked(Readings(PlatformReadings(database, clock)))

    def samples(self) -> Samples:
        return parse_exposition(self._metrics.exposition().decode())

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples().get((name, tuple(sorted(labels.items()))))


@pytest.mark.shows("J8", "B13", env="laptop")
def test_jobs_are_counted_and_their_durations_begin_at_zero_with_the_process(
    database: Database, clock: ManualClock
) -> None:
    with database.begin() as connection:
        old = _job(clock, "old", status="completed", started_at=clock.now(), finished_at=clock.now())
        connection.execute(insert(jobs).values(old))
        connection.execute(insert(jobs).values(_job(clock, "waits")))
    clock.sleep(30.0)
    exported = Exported(database, clock)
    assert exported.value("maestro_jobs", state="queued", priority="high", backend="local") == 1
    assert exported.value("maestro_jobs", state="completed", priority="high", backend="local") == 1
    assert exported.value("maestro_queue_oldest_seconds", priority="high") == 30.0
    assert not [name for name, _ in exported.samples() if name.startswith("maestro_job_duration")]
    began = clock.now()
    clock.sleep(12.0)
    with database.begin() as connection:
        connection.execute(
            update(jobs)
            .where(jobs.c.id == "waits")
            .values(status="completed", started_at=began, finished_at=clock.now())
        )
    labels = {"model_type": "classifier", "state": "completed"}
    for _ in range(3):
        assert exported.value("maestro_job_duration_seconds_count", **labels) == 1
        clock.sleep(100.0)
    assert exported.value("maestro_job_duration_seconds_sum", **labels) == 12.0
    # an end that is written late still bears its own time
    with database.begin() as connection:
        late = clock.now()
        connection.execute(insert(jobs).values(_job(clock, "a", status="failed", started_at=began, finished_at=late)))
    assert exported.value("maestro_job_duration_seconds_count", model_type="classifier", state="failed") == 1
    with database.begin() as connection:
        before = late - timedelta(seconds=5)
        connection.execute(insert(jobs).values(_job(clock, "b", status="failed", started_at=began, finished_at=before)))
    assert exported.value("maestro_job_duration_seconds_count", model_type="classifier", state="failed") == 2


@pytest.mark.shows("J8", "H15", env="laptop")
def test_rollouts_approvals_and_what_waits(database: Database, clock: ManualClock) -> None:
    with database.begin() as connection:
        connection.execute(
            insert(policies).values(
                digest="sha256:" + "1" * 64, kind="RolloutPolicy", document={}, created_at=clock.now()
            )
        )
        connection.execute(insert(rollouts).values(_rollout(clock, "1.0.0", "promoted", 100.0)))
        connection.execute(insert(rollouts).values(_rollout(clock, "1.1.0", "frozen", 10.0)))
        digests = {f"{name}_digest": "sha256:" + "2" * 64 for name in ("version", "contract", "policy", "evidence")}
        connection.execute(
            insert(approvals).values(
                id="a", model="m", version="1.1.0", status="pending", requested_by="human:a", requested_at=clock.now(),
                evidence={}, expires_at=clock.now(), **digests,
            )
        )  # fmt: skip
        for kind in ("job.completed", "job.queued"):
            append_event(connection, kind=kind, subject="job/x", actor="human:a", data={}, at=clock.now())
    clock.sleep(60.0)
    exported = Exported(database, clock)
    assert exported.value("maestro_rollouts", model="m", status="promoted") == 1
    assert exported.value("maestro_rollout_weight", model="m") == 0.1
    assert exported.value("maestro_rollout_age_seconds", model="m") == 60.0
    assert exported.value("maestro_approvals_pending") == 1
    assert exported.value("maestro_outbox_undelivered") == 1, "nobody acts on job.queued"


@pytest.mark.shows("J8", env="laptop")
def test_drift_gaps_and_cost(database: Database, clock: ManualClock) -> None:
    report = {"check": {"verdict": {"columns": [{"column": "age", "effect": 0.25}]}}}
    with database.begin() as connection:
        for number, share in enumerate((0.9, 0.4)):
            connection.execute(
                insert(drift_reports).values(
                    id=str(number), at=clock.now(), dataset="people", verdict="drift", share=share, report=report
                )
            )
            clock.sleep(3600.0)
        connection.execute(
            insert(slo_rollups).values(
                slo="availability", hour=clock.now(), good=1, total=1, gap_seconds=90.0, details={}
            )
        )
        connection.execute(
            insert(ai_hpo_studies).values(
                id="s",
                tenant_id="t",
                name="s",
                status="running",
                request={},
                created_by="human:a",
                created_at=clock.now(),
            )
        )
        for number, state in enumerate(("completed", "completed", "pruned")):
            connection.execute(
                insert(ai_hpo_trials).values(
                    study_id="s", number=number, state=state, params={}, started_at=clock.now()
                )
            )
        connection.execute(insert(jobs).values(_job(clock, "job-1")))
        connection.execute(insert(jobs).values(_job(clock, "job-2", model_type="study")))
        for subject, kind, used, bill in (
            ("job/job-1", "training", 600_000, 1_000_000),
            ("job/job-2", "training", 100_000, 200_000),
            ("server/a", "serving", 50_000, 50_000),
        ):
            connection.execute(insert(cost_entries).values(_cost(subject, kind, used, bill, clock)))
    exported = Exported(database, clock)
    assert exported.value("maestro_drift_share", dataset="people") == 0.4, "the newest report counts"
    assert exported.value("maestro_drift_effect", dataset="people", column="age") == 0.25
    checked = exported.value("maestro_drift_checked_timestamp_seconds", dataset="people")
    assert checked == (clock.now() - timedelta(hours=1)).timestamp()
    assert exported.value("maestro_slo_gap_seconds", slo="availability") == 90.0
    assert exported.value("maestro_hpo_trials_total", state="completed") == 2
    costs = {
        kind: exported.value("maestro_cost_usd_total", kind=kind) for kind in ("training", "tuning", "serving", "idle")
    }
    assert costs == {"training": 0.6, "tuning": 0.1, "serving": 0.05, "idle": 0.5}
    assert sum(value or 0.0 for value in costs.values()) == pytest.approx(1.25), "the parts add up to the bill"


def test_a_database_that_is_gone_is_told_and_nothing_else(sqlite_database: Database, clock: ManualClock) -> None:
    exported = Exported(sqlite_database, clock)
    assert exported.value("maestro_database_up") == 1
    with sqlite_database.begin() as connection:
        connection.exec_driver_sql("DROP TABLE drift_reports")
    assert dict(exported.samples()) == {("maestro_database_up", ()): 0.0}
