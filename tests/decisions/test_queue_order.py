"""Queue order: priority, age, limits, and no starvation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.core.jobs import Priority
from maestro.decisions.queue_order import Claim, Limits, order

START = datetime(2026, 1, 1, tzinfo=UTC)


def _job(
    name: str,
    priority: Priority = Priority.NORMAL,
    minute: int = 0,
    tenant: str = "t",
    cores: float = 1.0,
    gpus: int = 0,
) -> Claim:
    return Claim(name, tenant, priority, START + timedelta(minutes=minute), cores, gpus)


@pytest.mark.shows("B16", env="laptop")
def test_priority_then_age_then_id() -> None:
    jobs = [
        _job("low", Priority.LOW), _job("b", minute=5), _job("a", minute=5), _job("old"), _job("u", Priority.URGENT, 9), _job("h", Priority.HIGH, 8),
    ]  # fmt: skip
    assert [turn.job_id for turn in order(jobs, [], Limits())] == ["u", "h", "old", "a", "b", "low"]
    assert [turn.position for turn in order(jobs, [], Limits())] == [1, 2, 3, 4, 5, 6]


def test_a_tenant_at_its_limit_lets_others_pass() -> None:
    running = [_job("r1"), _job("r2")]
    turns = {
        turn.job_id: turn
        for turn in order([_job("mine"), _job("yours", minute=1, tenant="u")], running, Limits(jobs_per_tenant=2))
    }
    assert not turns["mine"].start
    assert turns["mine"].reason == "waits: tenant t runs 2 of its 2 jobs"
    assert turns["yours"].start


def test_small_jobs_do_not_starve_a_large_one() -> None:
    turns = order([_job("large", cores=4.0), _job("small", minute=1)], [_job("r", cores=2.0)], Limits(cores=4.0))
    assert [(turn.start, turn.reason) for turn in turns] == [
        (False, "waits: wants 4 cores, 2 cores are free"),
        (False, "waits behind large, which waits for cores"),
    ]


def test_a_job_waits_only_for_what_it_wants() -> None:
    queue = [_job("gpu", cores=0.5, gpus=1), _job("gpu2", minute=1, cores=0.0, gpus=1), _job("cpu", minute=2)]
    turns = order(queue, [_job("r", gpus=1)], Limits(cores=8.0, gpus=1))
    assert [turn.start for turn in turns] == [False, False, True]


def test_a_job_that_can_never_start_says_so_and_holds_nobody_up() -> None:
    turns = order([_job("huge", cores=64.0), _job("small", minute=1)], [], Limits(cores=4.0))
    assert turns[0].reason == "can never start: wants 64 cores, the limit is 4 cores"
    assert turns[1].start


claims = st.builds(
    _job,
    st.uuids().map(str),
    st.sampled_from(Priority),
    st.integers(0, 9),
    st.sampled_from(["a", "b"]),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.integers(0, 2),
)


@given(st.lists(claims, max_size=12), st.integers(0, 4), st.integers(1, 3), st.floats(0.5, 6), st.integers(0, 3))
def test_limits_hold_whatever_is_queued(
    queue: list[Claim], jobs: int, per_tenant: int, cores: float, gpus: int
) -> None:
    limits = Limits(jobs=jobs, jobs_per_tenant=per_tenant, cores=cores, gpus=gpus)
    turns = order(queue, [], limits)
    assert sorted(turn.job_id for turn in turns) == sorted(claim.job_id for claim in queue)
    by_id = {claim.job_id: claim for claim in queue}
    started = [by_id[turn.job_id] for turn in turns if turn.start]
    assert len(started) <= jobs
    assert sum(claim.cores for claim in started) <= cores + 1e-9
    assert sum(claim.gpus for claim in started) <= gpus
    assert all(sum(c.tenant_id == t for c in started) <= per_tenant for t in "ab")
    if queue and jobs:
        fits = [c for c in queue if c.cores <= cores and c.gpus <= gpus]
        assert bool(started) == bool(fits)
