"""Always-valid inference on a difference of means: an asymptotic confidence sequence.

Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences", Annals of Statistics 2024 (Gaussian mixture boundary; regression adjustment as in their section on A/B tests).

What it promises and what not: the coverage holds at every stopping time in the limit of many units, under any
distribution with a little more than two moments. It is NOT exact at small counts, so that no bound is given before
`MINIMUM_PER_ARM` units in each arm. For outcomes in a known range use `maestro.decisions.bounded_mean`, which is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from maestro.decisions.cuped import Difference

MINIMUM_PER_ARM = 200
"""Below this many units in an arm no bound is given (measured in tests: log-normal outcomes keep their error rate from here)."""


@dataclass(frozen=True, slots=True)
class MeanSequence:
    """The state of a confidence sequence at one look. The bounds are None while an arm is below the minimum."""

    difference: Difference
    lower: float | None
    upper: float | None
    p_value: float


def mixture_scale(tuned_at: float, alpha: float) -> float:
    """ρ² of the Gaussian mixture whose bound is tightest at `tuned_at` effective units.

    >>> round(mixture_scale(1000.0, 0.05), 5)
    0.00878
    """
    if not (tuned_at > 0.0 and 0.0 < alpha < 1.0):
        raise ValueError("tuned_at must be positive and alpha inside (0, 1)")
    log_alpha = -2.0 * math.log(alpha)
    return (log_alpha + math.log(log_alpha) + 1.0) / tuned_at


def mixture_radius(units: float, alpha: float, scale: float) -> float:
    """Half-width of the two-sided sequence in standard errors after `units` effective units, with ρ² = `scale`.

    At any stopping time |z| exceeds it with probability at most `alpha` when there is no difference.

    >>> round(mixture_radius(1000.0, 0.05, mixture_scale(1000.0, 0.05)), 3)
    3.035
    """
    growth = 1.0 + scale * units
    return math.sqrt(growth / (scale * units) * math.log(growth / alpha**2))


def mixture_p_value(z: float, units: float, scale: float) -> float:
    """The always-valid p-value of one look: one over the mixture's e-value. The least over all looks is valid too.

    >>> mixture_p_value(0.0, 1000.0, 0.01)
    1.0
    """
    if math.isinf(z):
        return 0.0
    growth = 1.0 + scale * units
    log_e = -0.5 * math.log(growth) + 0.5 * z * z * scale * units / growth
    return min(1.0, math.exp(-log_e))


def effective_units(n_champion: int, n_challenger: int) -> float:
    """Units of information of two arms: n₀n₁ / (n₀ + n₁), a quarter of all units at an even split.

    >>> effective_units(500, 500)
    250.0
    """
    total = n_champion + n_challenger
    return n_champion * n_challenger / total if total else 0.0


def mean_sequence(
    difference: Difference, *, alpha: float = 0.05, tuned_at: float, minimum_per_arm: int = MINIMUM_PER_ARM
) -> MeanSequence:
    """The confidence sequence of a difference of means at the current look.

    Args:
        difference: from `cuped.difference` or `cuped.adjust`, over the first units of both arms.
        alpha: two-sided error over all looks together.
        tuned_at: units of both arms together at which the bound is wanted tightest; fix it before the first look.
        minimum_per_arm: units an arm needs before a bound is given.

    Returns:
        bounds on the difference and an always-valid p-value. Bounds may be intersected over looks.

    >>> from maestro.decisions.moments import Moments
    >>> from maestro.decisions.cuped import difference
    >>> a, b = Moments(1000, 10.0, 999.0), Moments(1000, 10.3, 999.0)
    >>> look = mean_sequence(difference(a, b), tuned_at=2000)
    >>> round(look.lower, 3), round(look.upper, 3)
    (0.164, 0.436)
    """
    n0, n1 = difference.n_champion, difference.n_challenger
    if min(n0, n1) < max(minimum_per_arm, 2):
        return MeanSequence(difference, None, None, 1.0)
    units = effective_units(n0, n1)
    scale = mixture_scale(tuned_at / 4.0, alpha)
    half = mixture_radius(units, alpha, scale) * difference.standard_error
    return MeanSequence(
        difference=difference,
        lower=difference.estimate - half,
        upper=difference.estimate + half,
        p_value=mixture_p_value(difference.z, units, scale),
    )
