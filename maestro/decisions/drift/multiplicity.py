"""Corrections for looking at many columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values: those below q have a false discovery rate of at most q (Benjamini and Hochberg 1995).

    >>> [round(float(p), 2) for p in benjamini_hochberg([0.01, 0.04, 0.03, 0.5])]
    [0.04, 0.05, 0.05, 0.5]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def simes(p_values: ArrayLike) -> float:
    """One p-value for "no column differs" (Simes 1986): valid for independent and for positively dependent columns.

    >>> round(simes([0.01, 0.04, 0.03, 0.5]), 2)
    0.04
    """
    p = np.asarray(p_values, dtype=np.float64)
    return float(benjamini_hochberg(p).min()) if p.size else 1.0
