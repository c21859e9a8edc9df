"""Differences of raw counters, restarts handled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maestro.clients.exposition import Series, parse_exposition
from maestro.operations.counters import counters, increase

A: Series = ("maestro_a_total", ())
B: Series = ("maestro_b_total", ())


def test_only_the_platforms_cumulative_integers_are_counted() -> None:
    samples = parse_exposition(
        "maestro_a_total 3\nmaestro_gauge 7\nmaestro_h_sum 1.5\nmaestro_h_count 2\npython_gc_total 9\n"
    )
    assert {name for name, _ in counters(samples)} == {"maestro_a_total", "maestro_h_count"}


def test_a_series_that_appears_began_at_zero() -> None:
    assert increase({A: 5}, {A: 6, B: 4}).counts == {A: 1, B: 4}


def test_a_counter_that_fell_or_vanished_restarts_all() -> None:
    assert increase({A: 5, B: 5}, {A: 9, B: 4}).counts == {A: 9, B: 4}
    assert increase({A: 5, B: 5}, {A: 9}).restarted
    assert increase({A: 5}, {A: 9}, restarted=True).counts == {A: 9}


@given(st.lists(st.lists(st.integers(0, 20), min_size=2, max_size=2), min_size=1, max_size=20))
def test_increases_add_up_to_the_counters_while_nothing_restarts(steps: list[list[int]]) -> None:
    now, added = {A: 0, B: 0}, {A: 0, B: 0}
    for a, b in steps:
        before, now = now, {A: now[A] + a, B: now[B] + b}
        moved = increase(before, now)
        assert not moved.restarted
        added = {series: added[series] + moved.counts[series] for series in (A, B)}
    assert added == now
