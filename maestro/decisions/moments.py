"""Sufficient statistics of one arm's outcomes, with an optional covariate: mergeable, so that no row is read twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, means and centred sums of squares and products of outcome `y` and covariate `x`.

    `yy` = Σ(y − ȳ)², `xx` = Σ(x − x̄)², `xy` = Σ(x − x̄)(y − ȳ). Without a covariate the last two and `mean_x` are zero.
    """

    n: int
    mean: float
    yy: float
    mean_x: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    @classmethod
    def of(cls, outcome: ArrayLike, covariate: ArrayLike | None = None) -> Self:
        """The moments of a sample.

        Args:
            outcome: one finite number a unit, shape (n,).
            covariate: what was known of the same units before the experiment, shape (n,).

        Raises:
            ValueError: a shape is wrong or a value is not finite.

        >>> Moments.of([1.0, 2.0, 3.0]).variance
        1.0
        """
        y = np.asarray(outcome, dtype=np.float64)
        x = np.zeros_like(y) if covariate is None else np.asarray(covariate, dtype=np.float64)
        if y.ndim != 1 or x.shape != y.shape:
            raise ValueError("outcome and covariate must be one-dimensional and of the same length")
        if not (np.isfinite(y).all() and np.isfinite(x).all()):
            raise ValueError(
                "outcome and covariate must hold finite numbers; leave units without a value out of both arms"
            )
        if y.size == 0:
            return cls(0, 0.0, 0.0)
        mean, mean_x = float(y.mean()), float(x.mean())
        dy, dx = y - mean, x - mean_x
        return cls(int(y.size), mean, float(dy @ dy), mean_x, float(dx @ dx), float(dx @ dy))

    @classmethod
    def of_events(cls, events: int, n: int) -> Self:
        """The moments of `n` zeros and ones of which `events` are ones.

        >>> Moments.of_events(1, 4).mean
        0.25
        """
        if not 0 <= events <= n:
            raise ValueError("events must lie between 0 and n")
        if n == 0:
            return cls(0, 0.0, 0.0)
        rate = events / n
        return cls(n, rate, n * rate * (1.0 - rate))

    @property
    def variance(self) -> float:
        """The unbiased sample variance of the outcome; 0 for fewer than two units."""
        return self.yy / (self.n - 1) if self.n > 1 else 0.0

    def merge(self, other: Moments) -> Moments:
        """The moments of both samples together (Chan, Golub and LeVeque 1983).

        >>> Moments.of([1.0, 2.0]).merge(Moments.of([6.0])) == Moments.of([1.0, 2.0, 6.0])
        True
        """
        if self.n == 0:
            return other
        if other.n == 0:
            return self
        n = self.n + other.n
        weight = self.n * other.n / n
        dy, dx = other.mean - self.mean, other.mean_x - self.mean_x
        return Moments(
            n,
            self.mean + dy * other.n / n,
            self.yy + other.yy + dy * dy * weight,
            self.mean_x + dx * other.n / n,
            self.xx + other.xx + dx * dx * weight,
            self.xy + other.xy + dx * dy * weight,
        )
