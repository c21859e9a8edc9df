"""Place, reason, estimate, price, statistics."""

from __future__ import annotations

from maestro.core.clock import ManualClock
from maestro.core.jobs import JobStatus, Priority
from maestro.core.settings import TrainingSettings
from maestro.training.leases import Leases
from maestro.training.queue import Queue
from maestro.training.store import JobFilter, JobStore
from tests.training.conftest import ADA, OPERATOR, request_for
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
