"""Always-valid quantiles: coverage under peeking for any law, ties included, and power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from maestro.decisions.quantiles import (
    log_martingale,
    mixture_weight,
    quantile_difference_sequence,
    quantile_sequence,
    quantile_standard_error,
)

ROLLOUTS = 2_000
ALLOWED = int(stats.binom.ppf(0.999, ROLLOUTS, 0.05))


@pytest.mark.shows("H6", env="laptop")
@pytest.mark.parametrize("p", [0.5, 0.95, 0.99])
def test_one_arm_keeps_its_coverage_over_all_looks(p: float) -> None:
    """The count below the true quantile is all that matters, so that a hundred looks are checked without sorting."""
    rng = np.random.default_rng(3)
    below = np.cumsum(rng.random((ROLLOUTS, 5_000)) < p, axis=1)
    n = np.arange(1, 5_001)
    weight = mixture_weight(p, 2_000, 0.05)
    out = np.zeros(ROLLOUTS, dtype=bool)
    for k in range(0, 5_000, 50):
        out |= log_martingale(below[:, k], int(n[k]), p, weight) > math.log(20)
    assert int(out.sum()) <= ALLOWED


@pytest.mark.shows("H6", env="laptop")
@pytest.mark.parametrize("law", ["exponential", "ties"])
def test_peeking_at_the_difference_never_raises_the_error_rate(law: str) -> None:
    rng = np.random.default_rng(8)
    wrong = 0
    for _ in range(ROLLOUTS):
        a, b = rng.exponential(1.0, (2, 600))
        if law == "ties":
            a, b = np.round(a * 4), np.round(b * 4)
        for n in range(30, 601, 30):
            look = quantile_difference_sequence(a[:n], b[:n], 0.9, tuned_at=800)
            if (look.lower is not None and look.lower > 0.0) or (look.upper is not None and look.upper < 0.0):
                wrong += 1
                break
    assert wrong <= ALLOWED


@pytest.mark.shows("H6", env="laptop")
def test_a_true_difference_is_found_and_enclosed() -> None:
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(100):
        a, b = rng.lognormal(0.0, 0.5, 4000), rng.lognormal(0.15, 0.5, 4000)
        look = quantile_difference_sequence(a, b, 0.95, tuned_at=8000)
        true = (math.exp(0.15) - 1.0) * math.exp(0.5 * stats.norm.ppf(0.95))
        assert look.lower is not None
        assert look.upper is not None
        assert look.lower <= true <= look.upper
        found += look.lower > 0.0
    assert found >= 90


@pytest.mark.shows("H6", env="laptop")
def test_two_arms_together_are_tighter_than_two_at_half_the_error() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=3000), rng.normal(size=3000)
    both = quantile_difference_sequence(a, b, 0.5, tuned_at=6000)
    apart = [quantile_sequence(x, 0.5, alpha=0.025, tuned_at=3000) for x in (a, b)]
    assert both.lower is not None
    assert both.upper is not None
    widths = [x.upper - x.lower for x in apart if x.upper is not None and x.lower is not None]
    assert both.upper - both.lower < 0.8 * sum(widths)


def test_the_interval_inverts_the_martingale() -> None:
    x = np.arange(400.0)
    look = quantile_sequence(x, 0.7, tuned_at=400)
    inside = [
        s for s in range(401) if float(log_martingale(s, 400, 0.7, mixture_weight(0.7, 400, 0.05))) <= math.log(20)
    ]
    assert (look.lower, look.upper) == (x[inside[0] - 1], x[inside[-1]])


def test_few_values_bound_nothing_beyond_their_reach() -> None:
    look = quantile_sequence([1.0, 2.0, 3.0], 0.99, tuned_at=1000)
    assert look.upper is None


def test_standard_error_of_the_median_is_the_textbook_one() -> None:
    rng = np.random.default_rng(1)
    errors = [quantile_standard_error(rng.normal(size=2000), 0.5) for _ in range(200)]
    assert float(np.mean(errors)) == pytest.approx(math.sqrt(math.pi / 2 / 2000), rel=0.03)
    assert quantile_standard_error([1.0, 2.0], 0.99) == math.inf


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0]]])
def test_values_that_are_not_numbers_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="values"):
        quantile_sequence(values, 0.5, tuned_at=10)
    with pytest.raises(ValueError, match="p must"):
        quantile_sequence([1.0], 1.0, tuned_at=10)
