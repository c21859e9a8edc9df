"""A recommendation holds what was used, with a fifth to spare, in whole steps, and its saving is what the bills would differ by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.core.rates import RateCard, load_rates
from maestro.decisions.cost import Allocation, bill
from maestro.decisions.cost_recommendation import ENOUGH, HEADROOM, Measured, recommend

RATES = RateCard(version="2026-01", cpu_core_hour=0.05, gpu_hour=0.25, memory_gib_hour=0.01)
ATTEMPT = st.builds(
    Measured, wall_s=st.floats(1, 5000), cores=st.floats(0.25, 16), memory_gib=st.floats(0.25, 64), cpu_s=st.floats(0.1, 20_000),
    peak_memory_gib=st.floats(0, 64),
)  # fmt: skip


@given(st.lists(ATTEMPT, min_size=ENOUGH, max_size=8))
def test_it_holds_the_highest_use_and_its_saving_is_the_difference(attempts: list[Measured]) -> None:
    found = recommend(attempts, RATES)
    assert found is not None
    used = max(attempt.cpu_s / attempt.wall_s for attempt in attempts)
    assert found.cores >= used * HEADROOM - 1e-6
    assert found.cores < used * HEADROOM + 0.25 + 1e-6
    assert found.memory_gib >= max(attempt.peak_memory_gib for attempt in attempts) * HEADROOM - 1e-6
    then = sum(bill(Allocation(item.wall_s, found.cores, 0, found.memory_gib), RATES).total for item in attempts)
    assert found.billed - found.saved == then


def test_nothing_is_said_without_enough_accounted_attempts() -> None:
    one = Measured(10.0, 2.0, 2.0, 5.0, 1.0)
    assert recommend([one] * (ENOUGH - 1), load_rates()) is None
    assert recommend([Measured(10.0, 2.0, 2.0, 0.0, 0.0)] * 9, load_rates()) is None, "a lost attempt was not accounted"
    tight = recommend([Measured(10.0, 1.0, 1.0, 20.0, 0.5)] * ENOUGH, load_rates())
    assert tight is not None
    assert tight.cores == pytest.approx(2.5)
    assert tight.saved < 0, "more is recommended where more was used than asked for"
