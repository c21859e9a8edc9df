"""The budget of a search is never exceeded, whatever order trials start, cost and end in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.core.errors import BadInput
from maestro.decisions.search_budget import Budget


@given(st.integers(0, 1000), st.lists(st.tuples(st.integers(1, 300), st.floats(0, 1), st.booleans()), max_size=40))
def test_spent_never_exceeds_the_total(total: int, trials: list[tuple[int, float, bool]]) -> None:
    budget = Budget(total)
    running: list[tuple[int, int]] = []
    for key, (worst, share, settle_first) in enumerate(trials):
        if settle_first and running:
            ended, cost = running.pop()
            budget.settle(ended, cost)
        if budget.reserve(key, worst):
            running.append((key, round(worst * share)))
        assert budget.free is not None
        assert budget.free >= 0
    for ended, cost in running:
        budget.settle(ended, cost)
    assert budget.spent <= total


def test_without_a_total_everything_fits_and_a_wrong_worst_case_is_an_error() -> None:
    free = Budget(None, spent=7)
    assert free.reserve("a", 10**12)
    free.settle("a", 5)
    assert (free.spent, free.free) == (12, None)
    tight = Budget(10)
    assert tight.reserve("a", 5)
    with pytest.raises(BadInput, match="were set aside"):
        tight.settle("a", 6)
    with pytest.raises(BadInput, match="negative"):
        Budget(-1)
