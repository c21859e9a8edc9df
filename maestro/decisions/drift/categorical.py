"""Categorical columns: the two-sample chi-squared test, and a simultaneous lower bound of the total variation.

The total variation is ½ Σ |p − q| = the greatest difference in the probability of any set of categories. Its lower bound
is the better of two, with four fifths and one fifth of the error: the greatest single-category difference after a Bonferroni-corrected
score interval (Newcombe 1998), and the observed distance less what noise alone adds to it (its mean, and McDiarmid's
deviation), which is sharp when many categories move a little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from maestro.decisions.drift.numeric import Comparison
from maestro.decisions.drift.reference import Floats

EXPECTED = 5.0
"""Categories with fewer expected rows than this in either sample are tested together."""


def compare_categorical(
    reference: Mapping[str, int], current: Mapping[str, int], confidence: float = 0.95
) -> Comparison:
    """Compare the counts of a column with its reference's. A category that only one side has counts as 0 on the other.

    >>> same = compare_categorical({"a": 500, "b": 500}, {"a": 510, "b": 490})
    >>> round(same.effect, 3), same.lower
    (0.01, 0.0)
    >>> moved = compare_categorical({"a": 5000, "b": 5000}, {"a": 6000, "b": 3000, "c": 1000})
    >>> round(moved.effect, 3), moved.lower > 0.15
    (0.2, True)
    """
    names = sorted(set(reference) | set(current))
    a = np.array([reference.get(name, 0) for name in names], dtype=np.float64)
    b = np.array([current.get(name, 0) for name in names], dtype=np.float64)
    n, m = float(a.sum()), float(b.sum())
    if n == 0 or m == 0:
        return Comparison("chi2", 1.0, 0.0, 0.0)
    p, q = a / n, b / m
    effect = float(0.5 * np.abs(p - q).sum())
    error = 1.0 - confidence
    # Two categories have one free difference, k have k; each is taken in both directions.
    free = len(names) if len(names) > 2 else 1
    z = float(-special.ndtri(0.8 * error / (2.0 * free)))
    single = float(np.maximum(newcombe(a, n, b, m, z), newcombe(b, m, a, n, z)).max())
    pooled = (a + b) / (n + m)
    spread = 1.0 / n + 1.0 / m
    noise = 0.5 * float(np.sqrt(pooled * (1.0 - pooled) * spread).sum())
    deviation = math.sqrt(0.5 * spread * math.log(1.0 / (0.2 * error)))
    return Comparison("chi2", _chi_squared(a, b), effect, max(single, effect - noise - deviation, 0.0))


def wilson(count: Floats, n: float, z: float) -> tuple[Floats, Floats]:
    """Wilson's score interval of a proportion, for each of `count` out of `n`."""
    centre = (count + z * z / 2.0) / (n + z * z)
    half = z / (n + z * z) * np.sqrt(count * (n - count) / n + z * z / 4.0)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def newcombe(a: ArrayLike, n: float, b: ArrayLike, m: float, z: float) -> Floats:
    """Lower bounds of b/m − a/n (Newcombe's hybrid score interval)."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    _, upper_a = wilson(a, n, z)
    lower_b, _ = wilson(b, m, z)
    bound: Floats = (b / m - a / n) - np.sqrt((b / m - lower_b) ** 2 + (upper_a - a / n) ** 2)
    return bound


def _chi_squared(a: Floats, b: Floats) -> float:
    total = a + b
    least = min(a.sum(), b.sum()) / total.sum()
    rare = total * least < EXPECTED
    table = np.stack((a, b))
    if rare.any():
        together = table[:, rare].sum(axis=1, keepdims=True)
        table = table[:, ~rare]
        if together.sum() * least >= EXPECTED or table.shape[1] < 2:
            table = np.concatenate((table, together), axis=1)
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 1.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return float(special.chdtrc(table.shape[1] - 1, statistic))
