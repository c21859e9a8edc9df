"""Categorical columns: level, coverage and rare categories."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from maestro.decisions.drift.categorical import compare_categorical


def _counts(rng: np.random.Generator, rates: list[float] | NDArray[np.float64], n: int) -> dict[str, int]:
    return {str(i): int(c) for i, c in enumerate(rng.multinomial(n, rates)) if c}


@pytest.mark.shows("I1", env="laptop")
def test_it_is_scipys_contingency_test() -> None:
    mine = compare_categorical({"a": 300, "b": 200, "c": 100}, {"a": 150, "b": 130, "c": 90})
    assert mine.p_value == pytest.approx(stats.chi2_contingency([[300, 200, 100], [150, 130, 90]], correction=False)[1])


@pytest.mark.shows("I1", env="laptop")
@pytest.mark.parametrize("rates", [[0.5, 0.5], [0.2] * 5, [0.9, 0.09, 0.009, 0.001], np.arange(200, 0, -1) / 20_100])
def test_false_alarms_stay_at_the_level(rates: list[float] | NDArray[np.float64]) -> None:
    rng = np.random.default_rng(1)
    p = [compare_categorical(_counts(rng, rates, 10_000), _counts(rng, rates, 3_000)).p_value for _ in range(1000)]
    assert sum(value < 0.05 for value in p) <= stats.binom.ppf(0.999, 1000, 0.05)


@pytest.mark.shows("I1", env="laptop")
@pytest.mark.parametrize(
    ("before", "after"),
    [([0.5, 0.5], [0.55, 0.45]), ([0.1] * 10, [0.12, 0.08] * 5), (np.full(50, 0.02), np.tile([0.03, 0.01], 25))],
)
def test_the_lower_bound_is_below_the_truth(before: list[float], after: list[float]) -> None:
    rng = np.random.default_rng(2)
    true = 0.5 * float(np.abs(np.array(before) - np.array(after)).sum())
    lows = [compare_categorical(_counts(rng, before, 2_000), _counts(rng, after, 2_000)).lower for _ in range(1000)]
    assert sum(low > true for low in lows) <= stats.binom.ppf(0.999, 1000, 0.05)
    assert np.median(lows) > 0.0


def test_one_category_or_no_row_is_no_drift() -> None:
    assert compare_categorical({"a": 10}, {"a": 500}).p_value == 1.0
    assert compare_categorical({}, {"a": 500}).p_value == 1.0


def test_thousands_of_single_values_are_tested_together() -> None:
    one = {f"id{i}": 1 for i in range(3000)}
    other = {f"id{i}": 1 for i in range(3000, 6000)}
    assert compare_categorical(one, other).p_value == 1.0
