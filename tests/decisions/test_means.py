"""Always-valid means: the error rate under peeking, for several laws, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from maestro.decisions.cuped import difference
from maestro.decisions.means import (
    MINIMUM_PER_ARM,
    effective_units,
    mean_sequence,
    mixture_p_value,
    mixture_radius,
    mixture_scale,
)
from maestro.decisions.moments import Moments

ROLLOUTS = 2_000
LOOKS = np.arange(MINIMUM_PER_ARM, 5_001, 100)
ALLOWED = int(stats.binom.ppf(0.999, ROLLOUTS, 0.05))


def _draw(rng: np.random.Generator, law: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    if law == "normal":
        return rng.standard_normal(shape)
    if law == "log_normal":
        return rng.lognormal(0.0, 1.0, shape)
    return (rng.random(shape) < 0.02).astype(np.float64) * rng.exponential(1.0, shape)


def _statistics(rng: np.random.Generator, law: str, share: float) -> NDArray[np.float64]:
    """z of the difference at each look, (rollouts, looks), arms of `share` and 1 − share of twice LOOKS units."""
    parts = []
    for sizes in ((2 * LOOKS * (1 - share)).astype(int), (2 * LOOKS * share).astype(int)):
        total = np.zeros((ROLLOUTS, LOOKS.size))
        square = np.zeros((ROLLOUTS, LOOKS.size))
        before = 0
        for k, size in enumerate(sizes):
            fresh = _draw(rng, law, (ROLLOUTS, int(size - before)))
            total[:, k], square[:, k], before = fresh.sum(axis=1), (fresh**2).sum(axis=1), int(size)
        mean = total.cumsum(axis=1) / sizes
        variance = (square.cumsum(axis=1) / sizes - mean**2) * sizes / (sizes - 1)
        parts.append((mean, variance / sizes))
    (m0, v0), (m1, v1) = parts
    with np.errstate(invalid="ignore", divide="ignore"):
        z: NDArray[np.float64] = np.nan_to_num((m1 - m0) / np.sqrt(v0 + v1))
    return z


@pytest.mark.shows("H6", env="laptop")
@pytest.mark.parametrize(("law", "share"), [("normal", 0.5), ("log_normal", 0.5), ("rare", 0.5), ("normal", 0.2)])
def test_peeking_never_raises_the_error_rate(law: str, share: float) -> None:
    z = np.abs(_statistics(np.random.default_rng(11), law, share))
    scale = mixture_scale(10_000 / 4, 0.05)
    units = [effective_units(int(2 * n * (1 - share)), int(2 * n * share)) for n in LOOKS]
    radius = np.array([mixture_radius(u, 0.05, scale) for u in units])
    wrong = int((z > radius).any(axis=1).sum())
    assert wrong <= ALLOWED
    # The naive test on the same looks breaks its promise, or this simulation could not fail.
    assert int((z > 1.96).any(axis=1).sum()) > 3 * ALLOWED


@pytest.mark.shows("H6", env="laptop")
def test_interval_and_p_value_say_the_same() -> None:
    for shift in np.linspace(0.0, 0.3, 31):
        d = difference(Moments(1000, 0.0, 999.0), Moments(3000, float(shift), 2999.0))
        look = mean_sequence(d, tuned_at=5000)
        assert look.lower is not None
        assert (look.lower > 0.0) == (look.p_value < 0.05)


def test_the_bound_is_tightest_near_where_it_is_tuned() -> None:
    at = [mixture_radius(1000.0, 0.05, mixture_scale(t, 0.05)) for t in (100.0, 500.0, 1000.0, 2000.0, 10_000.0)]
    assert min(at) == at[2]


def test_no_bound_before_the_minimum() -> None:
    d = difference(Moments(MINIMUM_PER_ARM - 1, 0.0, 10.0), Moments(5000, 9.0, 10.0))
    look = mean_sequence(d, tuned_at=5000)
    assert (look.lower, look.upper, look.p_value) == (None, None, 1.0)


def test_extremes() -> None:
    assert mixture_p_value(float("inf"), 100.0, 0.1) == 0.0
    assert effective_units(0, 0) == 0.0
    with pytest.raises(ValueError, match="tuned_at"):
        mixture_scale(0.0, 0.05)
