"""The drift verdict: what it finds and what it leaves alone, by seeded simulation at the sizes that were promised."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from maestro.core.errors import BadInput
from maestro.decisions.drift import DriftVerdict, ReferenceProfile, judge_drift, profile
from maestro.decisions.drift.numeric import compare_numeric
from maestro.decisions.drift.reference import NumericProfile, numeric_profile

Floats = NDArray[np.float64]
ROWS = 10_000
COLUMNS = 25


def _table(rng: np.random.Generator, rows: int = ROWS, columns: int = COLUMNS) -> dict[str, Floats]:
    return {f"c{i:02d}": rng.normal(size=rows) for i in range(columns)}


def _power(rng: np.random.Generator, change: Callable[[Floats], Floats], tables: int, *, compact: bool) -> float:
    """How often the one changed column of 25 is found; the others are clean, with p-values that are uniform."""
    found = 0
    for _ in range(tables):
        base = {"x": rng.normal(size=ROWS)}
        reference = profile(base, exact=not compact)
        verdict = judge_drift(reference, {"x": change(rng.normal(size=ROWS))})
        # The correction for 24 clean columns, whose p-values are no smaller than this one's.
        found += verdict.drift and verdict.columns[0].p_value * COLUMNS < 0.05
    return found / tables


def _moved(share: float, by: float) -> Callable[[Floats], Floats]:
    def change(x: Floats) -> Floats:
        x = x.copy()
        x[: int(share * x.size)] += by
        return x

    return change


@pytest.mark.shows("I1", "I2", env="laptop")
@pytest.mark.parametrize("compact", [False, True])
def test_a_tenth_of_a_standard_deviation_is_found(compact: bool) -> None:
    assert _power(np.random.default_rng(1), lambda x: x + 0.10, 300, compact=compact) >= 0.95


@pytest.mark.shows("I1", "I2", env="laptop")
def test_a_quarter_of_a_standard_deviation_and_a_tenth_of_the_rows_are_always_found() -> None:
    rng = np.random.default_rng(2)
    assert _power(rng, lambda x: x + 0.25, 200, compact=True) == 1.0
    for by in (2.0, 3.0, 8.0):
        assert _power(rng, _moved(0.10, by), 200, compact=True) == 1.0


@pytest.mark.shows("I1", "I2", env="laptop")
@pytest.mark.parametrize(("by", "at_least"), [(3.0, 0.75), (4.0, 0.90), (8.0, 0.95)])
def test_three_percent_of_the_rows_moved_are_found(by: float, at_least: float) -> None:
    assert _power(np.random.default_rng(3), _moved(0.03, by), 300, compact=True) >= at_least


@pytest.mark.shows("I1", "I2", env="laptop")
def test_three_percent_of_the_rows_moved_between_categories_are_found() -> None:
    rng = np.random.default_rng(4)
    for before, after in (
        ([0.5, 0.5], [0.53, 0.47]),
        ([0.2] * 5, [0.23, 0.17, 0.2, 0.2, 0.2]),
        ([0.6, 0.4, 0.0], [0.58, 0.39, 0.03]),
    ):
        found = 0
        for _ in range(200):
            a = np.repeat([str(i) for i in range(len(before))], rng.multinomial(ROWS, before))
            b = np.repeat([str(i) for i in range(len(after))], rng.multinomial(ROWS, after))
            found += judge_drift(profile({"x": a}), {"x": b}).drift
        assert found / 200 >= 0.65


@pytest.mark.shows("I1", "I3", env="laptop")
def test_clean_tables_hardly_ever_raise_a_column() -> None:
    """300 tables of 25 columns: numeric, integer with ties, and categorical."""
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(60):
        # Five tables share a reference, as five looks of a day do.
        base = _mixed(rng)
        reference = profile(base)
        for _ in range(5):
            alarms += judge_drift(reference, _mixed(rng)).drift
    assert alarms <= 6  # 2 % of 300


def _mixed(rng: np.random.Generator) -> dict[str, Floats | NDArray[np.str_]]:
    rows = 10_000
    table: dict[str, Floats | NDArray[np.str_]] = {f"n{i}": rng.standard_normal(rows) for i in range(10)}
    table |= {f"t{i}": rng.exponential(1.0, rows) for i in range(5)}
    table |= {f"i{i}": rng.poisson(3.0, rows).astype(np.float64) for i in range(5)}
    letters = np.array(list("abcdefghij"))
    table |= {f"c{i}": letters[np.minimum(rng.geometric(0.3, rows) - 1, 9)] for i in range(5)}
    return table


@pytest.mark.shows("I1", env="laptop")
def test_a_hundredth_of_a_standard_deviation_at_a_million_rows_is_immaterial() -> None:
    rng = np.random.default_rng(6)
    flagged = significant = 0
    for _ in range(COLUMNS):
        base = numeric_profile("x", rng.standard_normal(1_000_000))
        found = compare_numeric(base, np.sort(rng.standard_normal(1_000_000) + 0.01))
        significant += found.p_value < 0.05
        flagged += found.p_value < 0.05 and found.lower > 0.01
    assert flagged <= 1
    assert significant >= 24  # a rule on p-values alone would flag every column


@pytest.mark.shows("I3", env="laptop")
@pytest.mark.parametrize(("columns", "rows"), [(3, 1_000), (25, 500)])
def test_a_week_of_hourly_looks_without_a_shift_is_silent(columns: int, rows: int) -> None:
    """Three weeks of looks, among them tables of three columns, where one column is a third."""
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(3):
        reference = profile(_table(rng, rows, columns))
        alarms += sum(judge_drift(reference, _table(rng, rows, columns)).alarm != "none" for _ in range(168))
    assert alarms == 0


@pytest.mark.shows("I3", env="laptop")
def test_the_alarm_of_a_week_is_bounded_by_its_p_value_even_for_correlated_columns() -> None:
    """Four copies of one column drift together by chance; the table's p-value is then that of one column."""
    rng = np.random.default_rng(8)
    by_share = alarms = 0
    for _ in range(1_500):
        x, y = rng.normal(size=(2, 300))
        verdict = judge_drift(profile(dict.fromkeys("abcd", x)), dict.fromkeys("abcd", y))
        by_share += verdict.share > 0.3
        alarms += verdict.alarm != "none"
    assert alarms == 0
    assert by_share > 0  # an alarm on the share alone would not have been silent


@pytest.mark.shows("I3", env="laptop")
def test_the_p_value_behind_the_alarm_is_calibrated() -> None:
    """The alarm asks for a table p-value of 0.001 / 168; here its level is checked where it can be counted."""
    rng = np.random.default_rng(14)
    below = 0
    for _ in range(2_000):
        verdict = judge_drift(profile(_table(rng, 300, 3)), _table(rng, 300, 3))
        below += verdict.table_p_value <= 0.01
    assert below <= stats.binom.ppf(0.999, 2_000, 0.01)


@pytest.mark.shows("I2", "I3", env="laptop")
@pytest.mark.parametrize(("shifted", "alarm"), [(0, "none"), (3, "none"), (4, "high"), (5, "high"), (6, "critical")])
def test_alarm_by_share(shifted: int, alarm: str) -> None:
    rng = np.random.default_rng(9)
    base, now = _table(rng, 4000, 10), _table(rng, 4000, 10)
    for name in list(now)[:shifted]:
        now[name] = now[name] + 0.5
    verdict = judge_drift(profile(base), now)
    assert verdict.share == shifted / 10
    assert verdict.alarm == alarm
    assert verdict.drifted == tuple(list(now)[:shifted])


@pytest.mark.shows("I1", env="laptop")
def test_the_lower_bound_holds_for_a_true_distance() -> None:
    """+0.10 sd has a distance of 0.0399; the bound is above it at most as often as it may be."""
    rng = np.random.default_rng(10)
    above = 0
    for _ in range(500):
        base = numeric_profile("x", rng.normal(size=2000))
        above += compare_numeric(base, np.sort(rng.normal(0.1, 1.0, 2000))).lower > 0.0399
    assert above <= 25


@pytest.mark.shows("I1", env="laptop")
def test_a_profile_stands_for_its_rows() -> None:
    rng = np.random.default_rng(11)
    base = rng.normal(size=50_000)
    now = {"x": rng.normal(0.05, 1.0, 20_000)}
    exact, compact = profile({"x": base}, exact=True), profile({"x": base})
    stored = ReferenceProfile.model_validate_json(compact.model_dump_json(by_alias=True))
    assert stored == compact
    column = compact.columns["x"]
    assert isinstance(column, NumericProfile)
    assert len(column.points) == 1000
    a, b = judge_drift(exact, now).columns[0], judge_drift(stored, now).columns[0]
    assert b.effect == pytest.approx(a.effect, abs=0.001)
    assert b.drift == a.drift


def test_the_exact_distance_is_scipys() -> None:
    rng = np.random.default_rng(12)
    for a, b in ((rng.normal(size=700), rng.normal(size=500)), (rng.poisson(2.0, 700), rng.poisson(2.0, 500))):
        mine = compare_numeric(numeric_profile("x", a, exact=True), np.sort(b.astype(float)))
        assert mine.effect == pytest.approx(stats.ks_2samp(a, b).statistic)


def test_psi_is_reported_and_never_decides() -> None:
    rng = np.random.default_rng(13)
    verdict: DriftVerdict = judge_drift(profile({"x": rng.normal(size=50)}), {"x": rng.normal(size=30)})
    assert verdict.columns[0].psi > 0.1
    assert not verdict.drift


@pytest.mark.shows("I1", env="laptop")
@pytest.mark.parametrize(
    ("current", "options", "names"),
    [
        ({"y": [1.0]}, {}, "x"),
        ({"x": ["a", "b"]}, {}, "x"),
        ({"x": [None, float("nan")]}, {}, "x"),
        ({"x": [1.0]}, {"threshold": 1.0}, "threshold"),
        ({"x": [1.0]}, {"material": -0.1}, "material"),
        ({"x": [1.0]}, {"high": 0.6, "critical": 0.5}, "critical"),
    ],
)
def test_bad_input_names_the_column_or_option(
    current: dict[str, list[object]], options: dict[str, float], names: str
) -> None:
    with pytest.raises(BadInput) as caught:
        judge_drift(profile({"x": [1.0, 2.0, 3.0]}), current, **options)
    assert caught.value.field == names
    assert caught.value.remedy


def test_a_reference_without_columns_or_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(BadInput):
        profile({})
    with pytest.raises(BadInput):
        profile({"x": ["a"]}, {"x": "numeric"})
