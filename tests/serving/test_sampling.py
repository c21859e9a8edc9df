"""How much of the traffic is taken for watching."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maestro.serving.sampling import BURST_S, Sample, Sampler


def sample(rows: int) -> Sample:
    return Sample("m", "a", "1.0.0", 1, None, None, [0] * rows, None)


def run(events: list[tuple[float, int]], rate: float) -> tuple[list[int], float]:
    """Rows of each batch that was taken, and the time that passed."""
    taken: list[int] = []
    at = 100.0
    sampler = Sampler(lambda each: taken.append(len(each.values)), rows_per_s=rate, clock=lambda: 100.0)
    for wait, rows in events:
        at += wait
        if sampler.due <= at:
            sampler.take(at, sample(rows))
    return taken, at - 100.0


def test_quiet_traffic_is_taken_whole_and_busy_traffic_at_its_rate() -> None:
    taken, _ = run([(0.01, 1)] * 500, rate=100.0)
    assert len(taken) == 500
    taken, passed = run([(0.001, 1)] * 20_000, rate=100.0)
    assert abs(sum(taken) - 100.0 * (passed + BURST_S)) <= 2
    taken, _ = run([(0.0, 1)] * 10, rate=0.0)
    assert taken == []


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 300)), max_size=60), st.floats(1, 1000))
def test_never_more_than_the_rate_the_burst_and_one_batch(events: list[tuple[float, int]], rate: float) -> None:
    taken, passed = run(events, rate)
    assert sum(taken) <= rate * (passed + BURST_S) + max(taken, default=0) + 1e-6
