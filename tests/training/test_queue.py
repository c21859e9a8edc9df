"""Place, reason, estimate, price, statistics."""

from __future__ import annotations

import pytest
from sqlalchemy import RowMapping, select

from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.core.clock import ManualClock
from maestro.core.jobs import JobStatus, Priority
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.settings import TrainingSettings
from maestro.training.leases import Leases
from maestro.training.plan import plan_job
from maestro.training.queue import Queue, active_jobs
from maestro.training.store import JobFilter, JobStore
from tests.training.conftest import ADA, OPERATOR, VIEWER, request_for
from tests.training.test_leases import BILL, OUTCOME


def test_a_queued_job_knows_its_place_and_why_it_waits(store: JobStore, leases: Leases, clock: ManualClock) -> None:
    queue = Queue(store, leases.options)
    for number in range(3):
        clock.sleep(1)
        store.submit(request_for(name=f"j{number}", tenant_id="a"), ADA)
    for _ in range(2):
        leases.claim("w", ["local"])
    clock.sleep(1)
    urgent = store.submit(request_for(priority=Priority.URGENT, tenant_id="b"), ADA)
    place = queue.place(urgent)
    assert place is not None
    assert (place.position, place.reason) == (1, "waits for a worker: urgent, first in the queue")
    last = store.page(JobFilter(status=JobStatus.QUEUED, tenant_id="a"), ADA)[0][0]
    place = queue.place(last)
    assert place is not None
    assert (place.position, place.reason) == (2, "waits: tenant a runs 2 of its 2 jobs")
    assert place.limit == "jobs_per_tenant"


def test_a_place_beyond_the_look_ahead_is_counted(store: JobStore, leases: Leases, clock: ManualClock) -> None:
    queue = Queue(store, leases.options)
    job = store.submit(request_for(), ADA)
    row = dict(_row(store, job.id))
    copies = [row | {"id": f"job-{number:04d}", "idempotency_key": None} for number in range(600)]
    clock.sleep(1)
    with store.database.begin() as connection:
        connection.execute(jobs.insert(), copies)
    last = store.submit(request_for(), ADA)
    place = queue.place(last)
    assert place is not None
    assert (place.position, place.reason) == (602, "waits: 601 jobs are before it")
    urgent = store.submit(request_for(priority=Priority.URGENT), ADA)
    first = queue.place(urgent)
    assert first is not None
    assert first.position == 1
    plan = plan_job(store, leases.options, request_for(), ADA, clock.now())
    assert plan.position == 604


def _row(store: JobStore, job_id: str) -> RowMapping:
    with store.database.read() as connection:
        return connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().one()


def test_a_plan_says_what_would_become_of_a_job(store: JobStore, clock: ManualClock) -> None:
    leases = Leases(store, TrainingSettings(lease_s=10_000, max_running=2, max_running_per_tenant=2, max_cores=4))
    for _ in range(4):
        store.submit(request_for(), ADA)
        lease = leases.claim("w", ["local"])
        assert lease is not None
        clock.sleep(20)
        leases.complete(lease, OUTCOME, BILL)
    fits = plan_job(store, leases.options, request_for(max_retries=1, timeout_s=3600), VIEWER, clock.now())
    assert (fits.verdict, fits.wait_s, fits.limit, fits.position) == ("fits", 0.0, None, 1)
    assert fits.estimate.seconds == 20.0
    assert (fits.price_usd_micros, fits.price_worst_usd_micros) == (278, 100_000)
    for _ in range(3):
        store.submit(request_for(), ADA)
    leases.claim("w", ["local"])
    leases.claim("w", ["local"])
    clock.sleep(5)
    waits = plan_job(store, leases.options, request_for(), VIEWER, clock.now())
    assert (waits.verdict, waits.limit, waits.position) == ("waits", "jobs", 2)
    assert waits.wait_s == pytest.approx(15.0)
    assert waits.reason == "waits: 2 of 2 jobs are running"
    never = plan_job(store, leases.options, request_for(resources={"cpu": 5}), VIEWER, clock.now())
    assert (never.verdict, never.limit, never.wait_s) == ("never", "cores", None)
    assert "can never start: wants 5 cores, the limit is 4 cores" in never.reason


def test_tenants_and_active_jobs_are_those_that_one_may_see(store: JobStore, leases: Leases) -> None:
    queue = Queue(store, leases.options)
    for tenant in ("a", "b", "b"):
        store.submit(request_for(tenant_id=tenant), ADA)
    leases.claim("w", ["local"])
    found, total = queue.tenants(OPERATOR, page_size=1)
    assert ([item.tenant_id for item in found], total) == (["a"], 2)
    one = Principal(name="bea", kind="human", roles=(PrincipalRole.VIEWER,), tenants=("b",))
    assert [(item.tenant_id, item.jobs) for item in queue.tenants(one)[0]] == [("b", 2)]
    shown, count = active_jobs(store, OPERATOR)
    assert (count, shown[0].status) == (3, JobStatus.RUNNING)
    assert {item.tenant_id for item in active_jobs(store, one)[0]} == {"b"}


def test_an_estimate_is_learned_from_like_jobs_and_priced(store: JobStore, clock: ManualClock) -> None:
    leases = Leases(store, TrainingSettings(lease_s=1000))
    queue = Queue(store, leases.options)
    unknown = queue.estimate_request(request_for())
    assert unknown.samples == 0
    assert unknown.seconds == 1800
    for seconds in (10, 12, 11, 10):
        store.submit(request_for(), ADA)
        lease = leases.claim("w", ["local"])
        assert lease is not None
        clock.sleep(seconds)
        leases.complete(lease, OUTCOME, BILL)
    found = queue.estimate_request(request_for(resources={"cpu": 2}))
    assert 10 <= found.seconds <= 12
    assert found.lower < found.seconds < found.upper
    assert found.price_usd_micros == round(found.seconds * 2 * 50_000 / 3600)
    assert queue.estimate_request(request_for(service="digits_v1")).samples == 0
    store.submit(request_for(), ADA)
    lease = leases.claim("w", ["local"])
    assert lease is not None
    clock.sleep(5)
    left = queue.estimate(store.get(lease.job_id, ADA), clock.now())
    assert left is not None
    assert 4 <= left.seconds <= 7


def test_statistics_count_everything_once(store: JobStore, leases: Leases, clock: ManualClock) -> None:
    for status in ("completed", "failed", "queued"):
        store.submit(request_for(), ADA)
        if status == "queued":
            continue
        lease = leases.claim("w", ["local"])
        assert lease is not None
        clock.sleep(4)
        if status == "completed":
            leases.complete(lease, OUTCOME, BILL)
        else:
            leases.fail(lease, {}, BILL)
    stats = Queue(store, leases.options).stats(OPERATOR)
    assert stats.by_status == {"queued": 1, "running": 0, "completed": 1, "failed": 1, "cancelled": 0}
    assert (stats.total, stats.success_rate, stats.mean_duration_s, stats.cost_usd_micros) == (3, 0.5, 4.0, 278)
