"""Objectives: what is not recorded is unknown, never good."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.core.errors import BadInput
from maestro.decisions.slo import BURN_ALERTS, BurnAlert, Rollup, assess, burn_rate, burning

HOUR = Rollup(good=9_999, total=10_000)


def rollup(counts: tuple[int, int], gap_s: int) -> Rollup:
    return Rollup(good=min(counts), total=max(counts), gap_s=gap_s)


rollups = st.lists(
    st.builds(rollup, st.tuples(st.integers(0, 1000), st.integers(0, 1000)), st.integers(0, 3600)), max_size=6
)


def test_availability_and_budget_of_a_full_record() -> None:
    status = assess(0.999, [HOUR] * 10)
    assert status.compliant
    assert status.availability == pytest.approx(0.9999)
    assert status.budget_left == pytest.approx(0.9)
    assert status.worst == status.best == status.availability


def test_an_overdrawn_budget_is_negative_and_a_breach() -> None:
    status = assess(0.999, [Rollup(good=9_980, total=10_000)])
    assert status.verdict == "breached"
    assert status.budget_left == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("good", "gap_s", "verdict"),
    [(10_000, 1, "compliant"), (10_000, 60, "unknown"), (9_985, 60, "breached"), (9_989, 600, "unknown")],
)
def test_a_gap_is_neither_good_nor_bad(good: int, gap_s: int, verdict: str) -> None:
    status = assess(0.999, [Rollup(good=good, total=10_000, gap_s=gap_s)])
    assert status.verdict == verdict
    assert status.gap_s == gap_s


def test_no_events_are_not_compliance() -> None:
    for nothing in ([], [Rollup(good=0, total=0)], [Rollup(good=0, total=0, gap_s=3600)]):
        status = assess(0.999, nothing)
        assert status.verdict == "unknown"
        assert not status.compliant
        assert status.availability is None


@given(record=rollups, gap=st.integers(1, 3600), objective=st.floats(0.5, 0.9999))
def test_a_further_gap_never_settles_anything(record: list[Rollup], gap: int, objective: float) -> None:
    """Compliance may become unknown by a gap, and so may a breach; nothing becomes compliant or breached by one."""
    before = assess(objective, record)
    after = assess(objective, [*record, Rollup(good=0, total=0, seconds=gap, gap_s=gap)])
    assert after.verdict in {before.verdict, "unknown"}


@given(record=rollups, objective=st.floats(0.5, 0.9999))
def test_the_order_of_rollups_does_not_matter(record: list[Rollup], objective: float) -> None:
    assert assess(objective, record) == assess(objective, record[::-1])


@pytest.mark.parametrize("objective", [0.0, 1.0, 99.9])
def test_an_impossible_objective_is_refused(objective: float) -> None:
    with pytest.raises(BadInput, match="objective"):
        assess(objective, [HOUR])


@pytest.mark.parametrize("wrong", [Rollup(good=2, total=1), Rollup(good=1, total=1, seconds=60, gap_s=61)])
def test_an_impossible_rollup_is_refused(wrong: Rollup) -> None:
    with pytest.raises(BadInput, match="cannot be"):
        assess(0.99, [wrong])


def test_burn_rates() -> None:
    assert burn_rate(0.999, 1000, 1000) == 0
    assert burn_rate(0.999, 0, 1) == pytest.approx(1000)
    assert burn_rate(0.999, 0, 0) is None


@pytest.mark.parametrize("alert", BURN_ALERTS, ids=lambda alert: alert.long)
def test_an_alert_needs_both_of_its_windows(alert: BurnAlert) -> None:
    both: dict[str, float | None] = {alert.long: alert.factor, alert.short: alert.factor}
    assert alert in burning(both)
    for window in both:
        assert alert not in burning(both | {window: alert.factor * 0.99})
        assert alert not in burning(both | {window: None})
