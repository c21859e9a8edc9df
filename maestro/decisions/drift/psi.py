"""The population stability index: reported because people know it, never a reason to decide.

Its usual cuts (0.1, 0.25) mean different things at different sample and bin counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from maestro.decisions.drift.reference import Floats, NumericProfile

BINS = 10


def psi(reference: ArrayLike, current: ArrayLike) -> float:
    """Σ (q − p) ln(q / p) over bins, with half a row added to every bin so that an empty one is no infinity.

    >>> psi([100, 100], [100, 100])
    0.0
    >>> round(psi([500, 500], [700, 300]), 3)
    0.169
    """
    a = np.asarray(reference, dtype=np.float64) + 0.5
    b = np.asarray(current, dtype=np.float64) + 0.5
    p, q = a / a.sum(), b / b.sum()
    return float(((q - p) * np.log(q / p)).sum())


def numeric_psi(reference: NumericProfile, current: Floats) -> float:
    """The index over the reference's deciles; `current` is finite and sorted."""
    if reference.n == 0 or current.size == 0:
        return 0.0
    at_or_below = np.asarray(reference.at_or_below)
    wanted = np.searchsorted(at_or_below, reference.n * np.arange(1, BINS) / BINS, side="left")
    cuts = np.unique(np.minimum(wanted, at_or_below.size - 1))
    edges = np.asarray(reference.points)[cuts]
    before = np.diff(np.concatenate(([0], at_or_below[cuts], [reference.n])))
    now = np.diff(np.concatenate(([0], np.searchsorted(current, edges, side="right"), [current.size])))
    return psi(before, now)


def categorical_psi(reference: Mapping[str, int], current: Mapping[str, int]) -> float:
    """The index over the categories of both sides."""
    names = sorted(set(reference) | set(current))
    if not names or not sum(reference.values()) or not sum(current.values()):
        return 0.0
    return psi([reference.get(name, 0) for name in names], [current.get(name, 0) for name in names])
