"""Submitting, reading, cancelling, retrying: on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from maestro.clients.database.outbox import events
from maestro.core.clock import ManualClock
from maestro.core.errors import Conflict, NotFound, Refused, Unreachable
from maestro.core.jobs import JobStatus, Priority
from maestro.core.principals import Principal, PrincipalRole
from maestro.training.leases import Leases
from maestro.training.store import JobFilter, JobStore
from tests.training.conftest import ADA, OPERATOR, VIEWER, request_for


def kinds(store: JobStore) -> list[str]:
    with store.database.read() as connection:
        return [event.kind for event in events(connection)]


def test_a_submitted_job_is_queued_told_and_audited(store: JobStore) -> None:
    job = store.submit(request_for(), ADA)
    assert (job.status, job.submitted_by, job.attempt) == (JobStatus.QUEUED, "human:ada", 0)
    assert store.get(job.id, ADA) == job
    assert kinds(store) == ["job.queued"]


def test_the_same_key_and_body_give_the_same_job(store: JobStore) -> None:
    first = store.submit(request_for(), ADA, "k1")
    assert store.submit(request_for(), ADA, "k1").id == first.id
    with pytest.raises(Conflict, match="used for another request"):
        store.submit(request_for(name="other"), ADA, "k1")
    assert store.submit(request_for(tenant_id="t2"), ADA, "k1").id != first.id
    assert kinds(store) == ["job.queued", "job.queued"]


def test_a_key_sent_many_times_at_once_makes_one_job(store: JobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: store.submit(request_for(), ADA, "once").id, range(16)))
    assert len(ids) == 1


def test_who_may_do_what(store: JobStore) -> None:
    with pytest.raises(Refused):
        store.submit(request_for(), VIEWER)
    job = store.submit(request_for(tenant_id="t1"), ADA)
    stranger = Principal(name="eve", kind="human", roles=(PrincipalRole.SUBMITTER,), tenants=("t2",))
    for action in (
        lambda: store.get(job.id, stranger),
        lambda: store.cancel(job.id, stranger),
        lambda: store.logs(job.id, stranger),
    ):
        with pytest.raises(NotFound):
            action()
    with pytest.raises(NotFound, match="tenant 't1'"):
        store.submit(request_for(tenant_id="t1"), stranger)
    assert store.page(JobFilter(), stranger) == ([], 0)
    assert store.get(job.id, VIEWER).id == job.id
    with pytest.raises(Refused):
        store.cancel(job.id, VIEWER)


def test_pages_are_filtered_and_newest_first(store: JobStore, clock: ManualClock) -> None:
    for number in range(5):
        clock.sleep(1)
        store.submit(
            request_for(
                name=f"j{number}",
                tenant_id="even" if number % 2 == 0 else "odd",
                priority=Priority.HIGH if number == 4 else Priority.LOW,
            ),
            ADA,
        )
    page, total = store.page(JobFilter(), OPERATOR, page=2, page_size=2)
    assert ([job.name for job in page], total) == (["j2", "j1"], 5)
    page, total = store.page(JobFilter(tenant_id="even", status=JobStatus.QUEUED), OPERATOR)
    assert ([job.name for job in page], total) == (["j4", "j2", "j0"], 3)
    assert [
        job.name for job in store.page(JobFilter(priority=Priority.HIGH, model_type="classifier"), OPERATOR)[0]
    ] == ["j4"]


def test_a_queued_job_is_cancelled_at_once_and_only_once(store: JobStore, leases: Leases) -> None:
    job = store.submit(request_for(), ADA)
    assert store.cancel(job.id, ADA).status is JobStatus.CANCELLED
    with pytest.raises(Conflict, match="cannot become cancelled"):
        store.cancel(job.id, ADA)
    assert leases.claim("w", ["local"]) is None
    assert kinds(store) == ["job.queued", "job.cancelled"]


def test_a_retry_keeps_the_configuration_and_links_back(store: JobStore, leases: Leases) -> None:
    job = store.submit(request_for(params={"n_estimators": 7}), ADA)
    with pytest.raises(Conflict, match="only a failed or cancelled job"):
        store.retry(job.id, ADA)
    store.cancel(job.id, ADA)
    again = store.retry(job.id, ADA)
    assert (again.retry_of, again.request) == (job.id, job.request)
    assert again.id != job.id


@pytest.fixture
def locked(store: JobStore) -> Iterator[JobStore]:
    if not store.database.is_sqlite:
        pytest.skip("a lock on the whole file is SQLite's")
    import sqlite3

    from maestro.clients.database import open_database
    from maestro.core.settings import DatabaseSettings

    path = str(store.database.engine.url.database)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    impatient = open_database(f"sqlite:///{path}", DatabaseSettings(busy_timeout_s=0.1))
    yield JobStore(impatient, store.clock, store.audit)
    holder.close()
    impatient.dispose()


def test_a_locked_database_is_named_with_its_remedy(locked: JobStore) -> None:
    with pytest.raises(Unreachable, match="locked") as error:
        locked.submit(request_for(), ADA)
    assert "another process holds the database" in error.value.remedy
