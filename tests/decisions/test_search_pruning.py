"""Which trials are hopeless: the median rule for one objective, dominance for several."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.core.errors import BadInput
from maestro.decisions.pareto import Direction, front
from maestro.decisions.search_pruning import KEEP, RACERS, STARTUP, hopeless, outrun

ROWS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=STARTUP, max_size=30)


@given(st.lists(st.integers(0, 9), min_size=STARTUP, max_size=30), st.integers(0, 9))
def test_one_objective_is_the_median_rule(others: list[int], own: int) -> None:
    table = [(float(value),) for value in others]
    if hopeless((own,), table, ("maximize",), KEEP["median"]):
        assert own < statistics.median_high(others)
    elif own < statistics.median_low(others):
        raise AssertionError("below the median and not ended")


@given(ROWS, st.sampled_from(sorted(KEEP)))
def test_what_is_on_the_front_never_ends(rows: list[tuple[int, int]], pruner: str) -> None:
    sides: tuple[Direction, Direction] = ("maximize", "minimize")
    for member in front(rows, sides):
        others = [row for at, row in enumerate(rows) if at != member]
        assert not hopeless(rows[member], others, sides, KEEP[pruner])


def test_nobody_is_judged_before_enough_have_come_as_far_and_mistakes_are_named() -> None:
    assert not hopeless((0.0,), [(1.0,)] * (STARTUP - 1), ("maximize",), 0.5)
    assert hopeless((0.0,), [(1.0,)] * STARTUP, ("maximize",), 0.5)
    with pytest.raises(BadInput, match="keep"):
        hopeless((0.0,), [], ("maximize",), 0.0)
    with pytest.raises(BadInput, match="number of objectives"):
        hopeless((0.0, 1.0), [(1.0,)], ("maximize", "minimize"), 0.5)


PATHS = st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=RACERS, max_size=12)


@given(PATHS, st.integers(1, 3))
def test_whoever_is_level_with_the_best_is_never_outrun(paths: list[list[float]], step: int) -> None:
    best = max(paths, key=lambda path: path[-1])
    assert not outrun(best[step - 1], step, paths)
    assert not outrun(2.0, step, paths)


@given(PATHS, st.floats(0, 1), st.floats(0, 1))
def test_a_wider_margin_ends_no_more(paths: list[list[float]], own: float, margin: float) -> None:
    if outrun(own, 1, paths, margin + 1.0):
        assert outrun(own, 1, paths, margin)


def test_a_race_needs_racers_and_steps() -> None:
    assert not outrun(0.0, 1, [(1.0, 1.0)] * (RACERS - 1))
    assert outrun(0.0, 1, [(1.0, 1.0)] * RACERS)
    with pytest.raises(BadInput, match="step is 3"):
        outrun(0.0, 3, [(1.0, 1.0)] * RACERS)
    with pytest.raises(BadInput, match="other numbers of steps"):
        outrun(0.0, 1, [(1.0, 1.0), (1.0,), (1.0, 1.0)])
