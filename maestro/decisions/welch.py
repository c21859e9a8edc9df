"""Welch's t-test: the fixed-horizon mode, read once at the size that was planned."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from maestro.decisions.cuped import Difference


@dataclass(frozen=True, slots=True)
class WelchTest:
    """Two-sided test of no difference, with the confidence interval of the difference."""

    difference: Difference
    p_value: float
    lower: float
    upper: float


def welch(difference: Difference, alpha: float = 0.05) -> WelchTest:
    """Test a difference of means once (Welch 1947), unadjusted or after regression on a covariate.

    Looking more than once and stopping at p < alpha breaks its error rate: use `maestro.decisions.means` or
    `maestro.decisions.group_sequential` for that.

    Raises:
        ValueError: `alpha` is not inside (0, 1), or an arm has fewer than two units.

    >>> from maestro.decisions.cuped import difference
    >>> from maestro.decisions.moments import Moments
    >>> test = welch(difference(Moments.of([1.0, 2.0, 3.0, 4.0]), Moments.of([3.0, 4.0, 5.0, 6.0])))
    >>> round(test.p_value, 4)
    0.071
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError("alpha must lie inside (0, 1)")
    if min(difference.n_champion, difference.n_challenger) < 2:
        raise ValueError("Welch's test needs at least two units in each arm")
    df = difference.degrees_of_freedom
    law = stats.norm if math.isinf(df) else stats.t(df)
    half = float(law.ppf(1.0 - alpha / 2.0)) * difference.standard_error
    return WelchTest(
        difference=difference,
        p_value=float(min(1.0, 2.0 * law.sf(abs(difference.z)))),
        lower=difference.estimate - half,
        upper=difference.estimate + half,
    )
