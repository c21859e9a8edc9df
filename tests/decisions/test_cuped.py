"""Regression adjustment on a covariate: what it saves, and that it keeps the error rate in every mode."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from maestro.decisions import group_sequential
from maestro.decisions.cuped import Difference, adjust, combine, difference
from maestro.decisions.means import mean_sequence
from maestro.decisions.moments import Moments
from maestro.decisions.welch import welch

ROLLOUTS = 2_000
ALLOWED = int(stats.binom.ppf(0.999, ROLLOUTS, 0.05))


def _arms(rng: np.random.Generator, n: int, effect: float, rho: float) -> tuple[Moments, Moments]:
    x = rng.normal(size=(2, n))
    y = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=(2, n))
    y[1] += effect
    return Moments.of(y[0], x[0]), Moments.of(y[1], x[1])


@pytest.mark.shows("H6", env="laptop")
@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
def test_the_variance_saved_is_the_squared_correlation(rho: float) -> None:
    a, b = _arms(np.random.default_rng(1), 50_000, 0.2, rho)
    found = adjust(a, b)
    assert found.variance_saved == pytest.approx(rho**2, abs=0.01)
    assert abs(found.estimate - 0.2) < 4 * found.standard_error
    assert found.standard_error == pytest.approx(difference(a, b).standard_error * math.sqrt(1 - rho**2), rel=0.02)


def test_a_useless_covariate_saves_nothing_and_costs_next_to_nothing() -> None:
    a, b = _arms(np.random.default_rng(2), 5_000, 0.0, 0.0)
    assert abs(adjust(a, b).variance_saved) < 0.002
    constant = Moments.of([1.0, 2.0, 3.0], [5.0, 5.0, 5.0])
    assert adjust(constant, constant).theta == 0.0


def test_an_effect_between_arms_does_not_leak_into_the_coefficient() -> None:
    a, b = _arms(np.random.default_rng(3), 20_000, 50.0, 0.6)
    assert adjust(a, b).theta == pytest.approx(0.6, abs=0.02)


@pytest.mark.shows("H6", "H8", env="laptop")
def test_adjusted_looks_keep_the_error_rate_in_both_sequential_modes() -> None:
    rng = np.random.default_rng(4)
    n, looks = 1_000, 20
    design = group_sequential.plan(looks=looks)
    bounds = np.array(design.efficacy)
    wrong_planned = wrong_always = 0
    for _ in range(ROLLOUTS):
        x = rng.normal(size=(2, n))
        y = 0.7 * x + 0.7 * rng.normal(size=(2, n))
        found = _adjusted_z(x, y, looks)
        wrong_planned += bool((np.abs([d.z for d in found]) >= bounds).any())
        for d in found:
            look = mean_sequence(d, tuned_at=2 * n)
            if look.lower is not None and look.upper is not None and not look.lower <= 0.0 <= look.upper:
                wrong_always += 1
                break
    assert wrong_planned <= ALLOWED
    assert wrong_always <= ALLOWED
    assert wrong_planned > 0.02 * ROLLOUTS  # the planned test spends what it is given


def _adjusted_z(x: NDArray[np.float64], y: NDArray[np.float64], looks: int) -> list[Difference]:
    """Adjusted differences at evenly spaced looks, from merged moments."""
    step = x.shape[1] // looks
    arms = [Moments(0, 0.0, 0.0), Moments(0, 0.0, 0.0)]
    found = []
    for k in range(looks):
        rows = slice(k * step, (k + 1) * step)
        arms = [arm.merge(Moments.of(y[i, rows], x[i, rows])) for i, arm in enumerate(arms)]
        found.append(adjust(arms[0], arms[1]))
    return found


@pytest.mark.shows("H6", env="laptop")
def test_the_same_power_needs_fewer_users() -> None:
    """Half the variance saved: 1,000 adjusted users an arm find what 2,000 unadjusted ones find."""
    rng = np.random.default_rng(5)
    hits = {"adjusted": 0, "plain": 0}
    for _ in range(600):
        a, b = _arms(rng, 1_000, 0.0887, math.sqrt(0.5))
        hits["adjusted"] += welch(adjust(a, b)).p_value < 0.05
        c, d = _arms(rng, 2_000, 0.0887, math.sqrt(0.5))
        hits["plain"] += welch(difference(c, d)).p_value < 0.05
    assert hits["adjusted"] / 600 == pytest.approx(0.8, abs=0.06)
    assert hits["plain"] / 600 == pytest.approx(0.8, abs=0.06)


def test_merged_moments_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(3.0, 1.0, 1000), rng.normal(-7.0, 2.0, 1000)
    whole = Moments.of(y, x)
    parts = Moments.of(y[:1], x[:1]).merge(Moments.of(y[1:400], x[1:400])).merge(Moments.of(y[400:], x[400:]))
    for name in ("n", "mean", "yy", "mean_x", "xx", "xy"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-9)


@pytest.mark.shows("H6", env="laptop")
def test_strata_undo_what_changing_weights_do_to_whole_arms() -> None:
    """No effect, a rising trend, and weights that move with it: arms as a whole differ, strata do not."""
    rng = np.random.default_rng(7)
    strata = []
    arms = [Moments(0, 0.0, 0.0), Moments(0, 0.0, 0.0)]
    for level, share in ((0.0, 0.1), (1.0, 0.5), (2.0, 0.9)):
        a = Moments.of(rng.normal(level, 1.0, int(2000 * (1 - share))))
        b = Moments.of(rng.normal(level, 1.0, int(2000 * share)))
        strata.append(difference(a, b))
        arms = [arms[0].merge(a), arms[1].merge(b)]
    assert abs(difference(arms[0], arms[1]).z) > 10.0
    assert abs(combine(strata).z) < 2.5
    assert combine([]).z == 0.0


def test_too_small_or_unfit_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="three units"):
        adjust(Moments.of([1.0]), Moments.of([1.0]))
    with pytest.raises(ValueError, match="same length"):
        Moments.of([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="finite"):
        Moments.of([1.0, float("nan")])
    with pytest.raises(ValueError, match="events"):
        Moments.of_events(5, 4)
