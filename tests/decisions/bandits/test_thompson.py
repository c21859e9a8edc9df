"""Thompson's exact probabilities against closed forms and against sampling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from maestro.core.errors import BadInput
from maestro.decisions.bandits.thompson import best_probability


def exactly(a: int, b: int, c: int, d: int) -> float:
    """P(Beta(c, d) > Beta(a, b)) for whole numbers (Miller, "Formulas for Bayesian A/B testing")."""
    i = np.arange(c)
    terms = special.betaln(a + i, b + d) - np.log(d + i) - special.betaln(1 + i, d) - special.betaln(a, b)
    return float(np.exp(terms).sum())


@pytest.mark.parametrize(
    ("a", "b", "c", "d"),
    [(1, 1, 1, 1), (3, 9, 5, 7), (120, 880, 150, 850), (10, 1, 1, 10), (5001, 45_000, 5100, 45_000)],
)
def test_two_arms_have_a_closed_form(a: int, b: int, c: int, d: int) -> None:
    assert best_probability((a, c), (b, d))[1] == pytest.approx(exactly(a, b, c, d), abs=1e-9)


def test_several_arms_agree_with_sampling() -> None:
    a, b = (3.0, 14.5, 40.0, 1.0), (9.0, 30.0, 81.5, 1.0)
    drawn = np.random.default_rng(8).beta(a, b, size=(400_000, 4)).argmax(axis=1)
    shares = np.bincount(drawn, minlength=4) / 400_000
    assert best_probability(a, b) == pytest.approx(shares.tolist(), abs=0.004)


def test_extreme_counts_stay_finite_and_add_up() -> None:
    for a, b in [((1e9, 1e9 + 5e4), (1e9, 1e9)), ((1.0, 1e8), (1e8, 1.0)), ((1.0, 1.0, 1e6), (1e6, 1e6, 1.0))]:
        found = best_probability(a, b)
        assert sum(found) == pytest.approx(1.0, abs=1e-12)
        assert min(found) >= 0.0
    # So many counts are normal: standard deviation 1.118e-5 each, means 1.25e-5 apart.
    near = special.ndtr(1.25e-5 / (1.118e-5 * np.sqrt(2)))
    assert best_probability((1e9, 1e9 + 5e4), (1e9, 1e9))[1] == pytest.approx(near, abs=1e-4)
    with pytest.raises(BadInput, match="at least two"):
        best_probability((1.0,), (1.0,))
