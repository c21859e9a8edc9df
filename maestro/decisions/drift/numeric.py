"""Numeric columns: the two-sample Kolmogorov–Smirnov test, and a simultaneous lower bound of the distance.

The distance is D = sup |F − G|. Its lower bound is the greatest observed difference after taking from each its half of a
band that holds at every point at once, with half the error each:

- an even band (Kolmogorov's law), sharp for shifts of the middle;
- a band in standard errors of the point, over pooled quantiles 1 % to 99 % (the law of the standardised bridge's maximum:
  Miller and Siegmund, "Maximally selected chi square statistics", Biometrics 1982), sharp for a few rows that moved far.

Both are laws of large samples; the second keeps off the ends of small ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, special, stats

from maestro.decisions.drift.reference import Floats, NumericProfile


@dataclass(frozen=True, slots=True)
class Comparison:
    """A column's p-value, its effect and the effect's lower confidence bound, all in [0, 1]."""

    test: str
    p_value: float
    effect: float
    lower: float


def compare_numeric(reference: NumericProfile, current: Floats, confidence: float = 0.95) -> Comparison:
    """Compare the finite, sorted values of a column with its reference.

    With an exact profile it is the exact two-sample statistic; with 1,000 quantiles at most 0.001 less.

    >>> from maestro.decisions.drift.reference import numeric_profile
    >>> import numpy as np
    >>> base = numeric_profile("x", np.arange(2000.0))
    >>> moved = compare_numeric(base, np.arange(2000.0) + 200)
    >>> round(moved.effect, 3), round(moved.lower, 3)
    (0.1, 0.076)
    """
    n, m = reference.n, int(current.size)
    if n == 0 or m == 0:
        return Comparison("ks", 1.0, 0.0, 0.0)
    points = np.asarray(reference.points)
    F = np.concatenate((np.asarray(reference.at_or_below), np.asarray(reference.below))) / n
    G = np.concatenate((np.searchsorted(current, points, "right"), np.searchsorted(current, points, "left"))) / m
    gap = np.abs(F - G)
    distance = float(gap.max())
    root = math.sqrt(1.0 / n + 1.0 / m)
    half_error = (1.0 - confidence) / 2.0
    even = distance - float(special.kolmogi(half_error)) * root
    edge = max(0.01, 20.0 / min(n, m))
    standardised = 0.0
    if edge < 0.5:
        pooled = (n * F + m * G) / (n + m)
        middle = (pooled > edge) & (pooled < 1.0 - edge)
        if middle.any():
            error = np.sqrt(F * (1.0 - F) / n + G * (1.0 - G) / m)[middle]
            standardised = float((gap[middle] - bridge_maximum(half_error, edge) * error).max())
    return Comparison(
        test="ks",
        p_value=float(special.kolmogorov(distance / root)),
        effect=distance,
        lower=max(even, standardised, 0.0),
    )


@lru_cache(maxsize=64)
def bridge_maximum(error: float, edge: float) -> float:
    """The value that the maximum of |B(t)| / √(t(1−t)) over [edge, 1 − edge] exceeds with probability `error`.

    B is a Brownian bridge; Miller and Siegmund's approximation, which errs by little and to the safe side.

    >>> round(bridge_maximum(0.025, 0.01), 2)
    3.52
    """
    span = 2.0 * math.log((1.0 - edge) / edge)

    def exceeds(b: float) -> float:
        return float(stats.norm.pdf(b)) * ((b - 1.0 / b) * span + 4.0 / b) - error

    return float(optimize.brentq(exceeds, 1.0, 12.0))
