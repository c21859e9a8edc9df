"""How long a job waits, against the queue played by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from maestro.core.jobs import Priority
from maestro.decisions.queue_order import Claim, Limits
from maestro.decisions.queue_wait import forecast

START = datetime(2026, 1, 1, tzinfo=UTC)


def _job(name: str, minute: int = 0, cores: float = 1.0, priority: Priority = Priority.NORMAL) -> Claim:
    return Claim(name, "t", priority, START + timedelta(minutes=minute), cores)


def test_a_job_waits_for_those_before_it_and_for_what_runs() -> None:
    running = [_job("r1"), _job("r2")]
    queued = [_job("q1", 1), _job("q2", 2), _job("later", 9)]
    seconds = {"r1": 10.0, "r2": 50.0, "q1": 100.0, "q2": 5.0, "later": 1000.0}
    found = forecast(_job("own", 5), queued, running, Limits(jobs=2), seconds)
    # r1 ends at 10 and q1 starts; r2 ends at 50 and q2 starts, which ends at 55
    assert (found.verdict, found.position, found.seconds, found.limit) == ("waits", 3, 55.0, "jobs")
    urgent = forecast(_job("own", 9, priority=Priority.URGENT), queued, running, Limits(jobs=2), seconds)
    assert (urgent.position, urgent.seconds) == (1, 10.0)


def test_what_fits_starts_now_and_what_is_too_large_never() -> None:
    assert forecast(_job("own"), [], [], Limits(jobs=1), {}).verdict == "fits"
    never = forecast(_job("own", cores=9), [], [], Limits(cores=4), {})
    assert (never.verdict, never.seconds, never.limit) == ("never", None, "cores")


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=12), st.integers(1, 3))
def test_one_lane_is_the_sum_and_more_lanes_are_never_slower(times: list[float], lanes: int) -> None:
    queued = [_job(f"q{number:02d}", number) for number in range(len(times))]
    seconds = {f"q{number:02d}": value for number, value in enumerate(times)}
    own = _job("own", 99)
    one = forecast(own, queued[1:], queued[:1], Limits(jobs=1), seconds)
    assert one.seconds is not None
    assert abs(one.seconds - sum(times)) < 1e-6
    more = forecast(own, queued[1:], queued[:1], Limits(jobs=lanes), seconds)
    assert more.seconds is not None
    assert more.seconds <= one.seconds + 1e-9
