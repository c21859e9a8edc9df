"""Welch's test against SciPy's, and its level at a fixed horizon."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from maestro.decisions.cuped import Difference, difference
from maestro.decisions.moments import Moments
from maestro.decisions.welch import welch


@pytest.mark.shows("H6", env="laptop")
@pytest.mark.parametrize(("n", "m", "sd"), [(5, 9, 3.0), (100, 40, 0.2), (2, 2, 1.0)])
def test_it_is_scipys(n: int, m: int, sd: float) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.0, 1.0, n), rng.normal(0.4, sd, m)
    mine = welch(difference(Moments.of(a), Moments.of(b)))
    theirs = stats.ttest_ind(b, a, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert mine.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (mine.lower, mine.upper) == pytest.approx((interval.low, interval.high), rel=1e-9)


@pytest.mark.shows("H6", env="laptop")
def test_read_once_it_has_its_level_and_read_often_it_has_not() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 2, 400))
    n = np.arange(1, 401)
    mean = x.cumsum(axis=2) / n
    variance = ((x**2).cumsum(axis=2) / n - mean**2) * n / np.maximum(n - 1, 1)
    looks = slice(19, 400, 20)
    z = (mean[:, 1] - mean[:, 0])[:, looks] / np.sqrt((variance.sum(axis=1) / n)[:, looks])
    rejected = np.asarray(2 * stats.t.sf(np.abs(z), 2 * n[looks] - 2)) < 0.05
    assert rejected[:, -1].mean() == pytest.approx(0.05, abs=0.012)
    assert rejected.any(axis=1).mean() > 0.2


def test_identical_constants_are_no_difference() -> None:
    test = welch(difference(Moments.of([1.0, 1.0]), Moments.of([1.0, 1.0])))
    assert (test.p_value, test.lower, test.upper) == (1.0, 0.0, 0.0)
    assert welch(difference(Moments.of([1.0, 1.0]), Moments.of([2.0, 2.0]))).p_value == 0.0


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="two units"):
        welch(difference(Moments.of([1.0]), Moments.of([1.0, 2.0])))
    with pytest.raises(ValueError, match="alpha"):
        welch(Difference(0.0, 1.0, 9, 9, 9.0), alpha=1.0)
