"""Claims, fences, lost leases, publication: on SQLite and PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text

from maestro.clients.database.outbox import events
from maestro.clients.database.schema.training import (
    ai_experiment_metrics,
    ai_experiment_params,
    ai_experiments,
    ai_training_job_counts,
    ai_training_jobs,
    ai_training_logs,
)
from maestro.core.clock import ManualClock
from maestro.core.errors import Fenced
from maestro.core.events import Event
from maestro.core.jobs import JobStatus, Priority
from maestro.core.settings import TrainingSettings
from maestro.training.job import Bill, LogLine, Outcome
from maestro.training.leases import Leases
from maestro.training.publication import record_experiment
from maestro.training.store import JobStore
from tests.training.conftest import ADA, request_for

BILL = Bill(wall_s=10, cpu_s=5, cores=1, rates="2026-01", bill_usd_micros=139, used_usd_micros=70)
OUTCOME = Outcome(
    run_id="r1",
    model_uri="models:/m-1",
    experiment="churn",
    experiment_id="1",
    metrics={"f1": 0.9},
    params={"depth": "3"},
)


def told(store: JobStore) -> list[Event]:
    with store.database.read() as connection:
        return events(connection)


def test_urgent_before_old(store: JobStore, leases: Leases, clock: ManualClock) -> None:
    for priority in (Priority.LOW, Priority.NORMAL, Priority.NORMAL, Priority.URGENT, Priority.HIGH):
        clock.sleep(1)
        store.submit(request_for(name=f"{priority}", tenant_id=f"t{clock.monotonic():.0f}", priority=priority), ADA)
    claimed = [leases.claim("w", ["local"]) for _ in range(4)]
    assert [lease.request.name if lease else None for lease in claimed] == ["urgent", "high", "normal", "normal"]
    assert [lease.started for lease in claimed[2:] if lease] == sorted(lease.started for lease in claimed[2:] if lease)


def test_limits_hold_in_all_and_for_each_tenant(store: JobStore, leases: Leases, clock: ManualClock) -> None:
    for tenant in ("a", "a", "a", "b", "c", "d"):
        clock.sleep(0.1)
        store.submit(request_for(tenant_id=tenant), ADA)
    claimed = [leases.claim("w", ["local"]) for _ in range(6)]
    assert [lease.request.tenant_id for lease in claimed if lease] == ["a", "a", "b", "c"]
    assert claimed[4:] == [None, None]


def test_a_worker_gets_only_what_it_can_run(store: JobStore, leases: Leases) -> None:
    store.submit(request_for(), ADA)
    assert leases.claim("w", ["kubeflow"]) is None
    assert leases.claim("w", ["local"]) is not None


def test_many_workers_never_share_a_job(store: JobStore, leases: Leases) -> None:
    for tenant in "abcd":
        store.submit(request_for(tenant_id=tenant), ADA)
    with ThreadPoolExecutor(8) as pool:
        claimed = [
            lease for lease in pool.map(lambda number: leases.claim(f"w{number}", ["local"]), range(12)) if lease
        ]
    assert len(claimed) == 4
    assert len({lease.job_id for lease in claimed}) == 4


def test_only_the_current_fence_publishes(store: JobStore, leases: Leases, clock: ManualClock) -> None:
    store.submit(request_for(max_retries=1), ADA)
    first = leases.claim("slow", ["local"])
    assert first is not None
    clock.sleep(16)
    with pytest.raises(Fenced):
        leases.heartbeat(first)
    assert leases.requeue_expired() == [first.job_id]
    second = leases.claim("quick", ["local"])
    assert second is not None
    assert (second.fence, second.attempt) == (first.fence + 1, 2)
    for write in (
        lambda: leases.complete(first, OUTCOME, BILL), lambda: leases.fail(first, {}, BILL), lambda: leases.cancelled(first, BILL),
        lambda: leases.give_back(first, BILL), lambda: leases.log(first, [LogLine(attempt=1, at=clock.now(), level="info", message="x")]),
        lambda: leases.heartbeat(first, progress=1.0),
    ):  # fmt: skip
        with pytest.raises(Fenced):
            write()
    done = leases.complete(second, OUTCOME, BILL)
    assert (done.status, done.run_id) == (JobStatus.COMPLETED, "r1")
    with pytest.raises(Fenced):
        leases.complete(second, OUTCOME, BILL)
    assert [event.kind for event in told(store)] == [
        "job.queued",
        "job.started",
        "job.requeued",
        "job.started",
        "job.completed",
    ]
    assert list(store.logs(second.job_id, ADA)) == []


def test_an_overdue_lease_is_refused_before_anybody_takes_the_job(
    store: JobStore, leases: Leases, clock: ManualClock
) -> None:
    store.submit(request_for(), ADA)
    lease = leases.claim("w", ["local"])
    assert lease is not None
    clock.sleep(14)
    leases.heartbeat(lease)
    clock.sleep(14)
    assert leases.requeue_expired() == []
    clock.sleep(2)
    with pytest.raises(Fenced):
        leases.complete(lease, OUTCOME, BILL)


def test_a_lost_worker_uses_up_no_retry_and_is_billed_to_its_last_sign_of_life(
    store: JobStore, leases: Leases, clock: ManualClock
) -> None:
    job = store.submit(request_for(max_retries=0), ADA)
    lease = leases.claim("w", ["local"])
    assert lease is not None
    clock.sleep(10)
    leases.heartbeat(lease)
    clock.sleep(16)
    leases.requeue_expired()
    lost = store.get(job.id, ADA)
    assert (lost.status, lost.lost, lost.attempt) == (JobStatus.QUEUED, 1, 1)
    assert lost.cost_usd_micros == 139, "ten seconds of a core"
    bill = told(store)[-1].data["bill"]
    assert (bill["wall_s"], bill["used_usd_micros"], bill["accounted"]) == (10.0, 0, False)
    again = leases.claim("w", ["local"])
    assert again is not None
    assert leases.complete(again, OUTCOME, BILL).attempt == 2


def test_retries_are_counted_without_the_lost_leases(store: JobStore, leases: Leases, clock: ManualClock) -> None:
    store.submit(request_for(max_retries=1), ADA)
    assert leases.claim("w", ["local"]) is not None
    clock.sleep(16)
    leases.requeue_expired()
    for expected in (JobStatus.QUEUED, JobStatus.FAILED):
        lease = leases.claim("w", ["local"])
        assert lease is not None
        assert leases.fail(lease, {"detail": "no"}, BILL).status is expected


def test_a_job_that_loses_every_worker_is_given_up(store: JobStore, leases: Leases, clock: ManualClock) -> None:
    job = store.submit(request_for(), ADA)
    for number in range(leases.options.max_lost + 1):
        assert store.get(job.id, ADA).status is JobStatus.QUEUED, number
        assert leases.claim("w", ["local"]) is not None
        clock.sleep(16)
        leases.requeue_expired()
    error = store.get(job.id, ADA).error
    assert error is not None
    assert "gave no sign of life" in error["detail"]
    assert store.get(job.id, ADA).status is JobStatus.FAILED


def test_a_cancelled_job_whose_worker_is_lost_is_cancelled(store: JobStore, leases: Leases, clock: ManualClock) -> None:
    job = store.submit(request_for(), ADA)
    assert leases.claim("w", ["local"]) is not None
    store.cancel(job.id, ADA)
    clock.sleep(16)
    assert leases.requeue_expired() == [job.id]
    assert store.get(job.id, ADA).status is JobStatus.CANCELLED


def test_limits_of_backend_and_memory_hold(store: JobStore, clock: ManualClock) -> None:
    leases = Leases(
        store, TrainingSettings(max_running_per_backend={"local": 1, "other": 9}, max_memory_gib=4.0, max_running=9)
    )
    store.submit(request_for(resources={"memory": "3Gi"}), ADA)
    clock.sleep(1)
    store.submit(request_for(), ADA)
    large = store.submit(request_for(backend="other", resources={"memory": "2Gi"}), ADA)
    clock.sleep(1)
    store.submit(request_for(backend="other", resources={"memory": "512Mi"}), ADA)
    first = leases.claim("w", ["local", "other"])
    assert first is not None
    # the second is held back by its backend, the third lacks memory, and nothing behind it takes what it waits for
    assert leases.claim("w", ["local", "other"]) is None
    leases.complete(first, OUTCOME, BILL)
    assert leases.claim("w", ["other"]) is not None
    assert store.get(large.id, ADA).status is JobStatus.RUNNING


def test_a_tenant_at_its_limit_with_a_long_queue_lets_others_pass(
    store: JobStore, leases: Leases, clock: ManualClock
) -> None:
    for tenant in ("a", "a", "a", "a", "b", "c"):
        clock.sleep(0.1)
        store.submit(request_for(tenant_id=tenant, backend="local" if tenant != "c" else "other"), ADA)
    claimed = [leases.claim("w", ["local"]) for _ in range(5)]
    assert [lease.request.tenant_id for lease in claimed if lease] == ["a", "a", "b"]


def test_counts_follow_every_change(store: JobStore, leases: Leases, clock: ManualClock) -> None:
    for _ in range(3):
        store.submit(request_for(), ADA)
    lease = leases.claim("w", ["local"])
    assert lease is not None
    leases.complete(lease, OUTCOME, BILL)
    leases.claim("w", ["local"])
    with store.database.begin() as connection:
        counted = {
            row.status: (row.jobs, row.cost_usd_micros) for row in connection.execute(select(ai_training_job_counts))
        }
        assert counted == {"queued": (1, 0), "running": (1, 0), "completed": (1, 139)}
        connection.execute(ai_training_logs.delete())
        connection.execute(ai_training_jobs.delete())
        assert {row.jobs for row in connection.execute(select(ai_training_job_counts))} == {0}


def test_a_failure_is_tried_again_while_retries_are_left_and_every_attempt_is_billed(
    store: JobStore, leases: Leases
) -> None:
    job = store.submit(request_for(max_retries=1), ADA)
    for expected in (JobStatus.QUEUED, JobStatus.FAILED):
        lease = leases.claim("w", ["local"])
        assert lease is not None
        assert leases.fail(lease, {"detail": "out of memory"}, BILL).status is expected
    assert store.get(job.id, ADA).cost_usd_micros == 2 * 139
    bad = store.submit(request_for(max_retries=5), ADA)
    lease = leases.claim("w", ["local"])
    assert lease is not None
    assert leases.fail(lease, {"detail": "unknown column"}, BILL, retry=False).status is JobStatus.FAILED
    assert lease.job_id == bad.id


def test_a_running_job_is_asked_to_stop_by_its_heartbeat(store: JobStore, leases: Leases) -> None:
    job = store.submit(request_for(), ADA)
    lease = leases.claim("w", ["local"])
    assert lease is not None
    assert leases.heartbeat(lease, progress=0.3, message="fitting") is False
    assert store.get(job.id, ADA).progress == 0.3
    store.cancel(job.id, ADA)
    assert leases.heartbeat(lease) is True
    assert leases.cancelled(lease, BILL).status is JobStatus.CANCELLED


def test_a_worker_that_ends_gives_its_job_back_without_using_a_retry(store: JobStore, leases: Leases) -> None:
    job = store.submit(request_for(), ADA)
    lease = leases.claim("w", ["local"])
    assert lease is not None
    assert leases.give_back(lease, BILL).status is JobStatus.QUEUED
    again = leases.claim("w", ["local"])
    assert again is not None
    assert (again.attempt, again.fence) == (1, 2)
    assert again.job_id == job.id


@pytest.mark.shows("D3", "D5", env="laptop")
def test_publication_fills_the_promised_tables_and_views_in_one_transaction(store: JobStore, leases: Leases) -> None:
    for value in (0.8, 0.9):
        store.submit(request_for(register_as="m"), ADA)
        lease = leases.claim("w", ["local"])
        assert lease is not None
        leases.complete(lease, OUTCOME.model_copy(update={"metrics": {"f1": value}, "run_id": f"r{value}"}), BILL)
    store.submit(request_for(), ADA)
    with store.database.read() as connection:
        assert connection.execute(select(ai_experiments.c.name)).scalars().all() == ["churn"]
        assert len(connection.execute(select(ai_experiment_metrics)).all()) == 2
        best = connection.execute(text("SELECT name, metric, runs, highest FROM experiment_summary")).one()
        assert tuple(best) == ("churn", "f1", 2, 0.9)
        assert connection.execute(text("SELECT count(*) FROM active_training_jobs")).scalar_one() == 1
    data = told(store)[2].data
    assert {
        "job_id",
        "attempt",
        "fence",
        "run_id",
        "model_uri",
        "register_as",
        "submitted_by",
        "tenant_id",
        "cost_usd_micros",
        "metrics",
    } <= set(data)


def test_an_attempt_without_a_run_leaves_no_experiment(store: JobStore, leases: Leases, clock: ManualClock) -> None:
    store.submit(request_for(), ADA)
    lease = leases.claim("w", ["local"])
    assert lease is not None
    with store.database.begin() as connection:
        record_experiment(connection, lease, OUTCOME.model_copy(update={"run_id": None}), clock.now())
        assert connection.execute(select(ai_experiments)).all() == []


def test_a_run_that_is_continued_keeps_its_parameters_by_version(store: JobStore, leases: Leases) -> None:
    for depth in ("3", "3", "4"):
        store.submit(request_for(), ADA)
        lease = leases.claim("w", ["local"])
        assert lease is not None
        leases.complete(lease, OUTCOME.model_copy(update={"params": {"depth": depth}}), BILL)
    with store.database.read() as connection:
        rows = connection.execute(select(ai_experiment_params.c.version, ai_experiment_params.c.value)).all()
    assert sorted(map(tuple, rows)) == [(1, "3"), (2, "4")]


def test_log_lines_are_read_by_level_and_from_where_one_stopped(
    store: JobStore, leases: Leases, clock: ManualClock
) -> None:
    job = store.submit(request_for(), ADA)
    lease = leases.claim("w", ["local"])
    assert lease is not None
    leases.log(
        lease, [LogLine(attempt=1, at=clock.now(), level=level, message=level) for level in ("info", "warning", "info")]
    )
    lines = list(store.logs(job.id, ADA))
    assert [line.message for line in lines] == ["info", "warning", "info"]
    assert [line.message for line in store.logs(job.id, ADA, after=lines[1].seq)] == ["info"]
    assert [line.message for line in store.logs(job.id, ADA, level="warning")] == ["warning"]
