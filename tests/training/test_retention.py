"""Clean-up after 90, 30 and 7 days, and what it never touches."""

from __future__ import annotations

import pytest

from maestro.clients.database.outbox import events
from maestro.core.clock import ManualClock
from maestro.core.errors import NotFound, Refused
from maestro.training.job import LogLine
from maestro.training.leases import Leases
from maestro.training.retention import clean_up
from maestro.training.store import JobFilter, JobStore
from tests.training.conftest import ADA, OPERATOR, request_for
from tests.training.test_leases import BILL, OUTCOME

DAY = 86400.0


@pytest.mark.shows("D4", env="laptop")
def test_rows_go_when_their_days_are_over_and_not_before(store: JobStore, leases: Leases, clock: ManualClock) -> None:
    done = store.submit(request_for(), ADA)
    lease = leases.claim("w", ["local"])
    assert lease is not None
    leases.log(lease, [LogLine(attempt=1, at=clock.now(), level="info", message="x")])
    leases.complete(lease, OUTCOME, BILL)
    failed = store.submit(request_for(), ADA)
    lease = leases.claim("w", ["local"])
    assert lease is not None
    leases.fail(lease, {"detail": "no"}, BILL)
    retried = store.retry(failed.id, ADA)
    clock.sleep(8 * DAY)
    assert clean_up(store, OPERATOR).document() == {"completed": 0, "failed": 0, "cancelled": 0, "log_lines": 1}
    clock.sleep(23 * DAY)
    assert clean_up(store, OPERATOR).failed == 1
    with pytest.raises(NotFound):
        store.get(failed.id, ADA)
    assert store.get(retried.id, ADA).retry_of is None
    clock.sleep(58 * DAY)
    assert clean_up(store, OPERATOR).completed == 0
    clock.sleep(2 * DAY)
    assert clean_up(store, OPERATOR).completed == 1
    with pytest.raises(NotFound):
        store.get(done.id, ADA)
    assert [job.id for job in store.page(JobFilter(), OPERATOR)[0]] == [retried.id]
    with store.database.read() as connection:
        assert "job.completed" in [event.kind for event in events(connection)]


def test_only_an_operator_cleans_up(store: JobStore) -> None:
    with pytest.raises(Refused):
        clean_up(store, ADA)
