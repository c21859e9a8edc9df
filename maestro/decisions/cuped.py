"""Difference of two means, adjusted for a covariate from before the experiment (CUPED).

Source: Deng, Xu, Kohavi and Walker, "Improving the sensitivity of online controlled experiments by utilizing
pre-experiment data", WSDM 2013. The same adjusted difference feeds the fixed, the planned and the always-valid mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maestro.decisions.moments import Moments


@dataclass(frozen=True, slots=True)
class Difference:
    """An estimated difference of means, challenger − champion, with its standard error.

    `variance_saved` is the share of the unadjusted variance that the covariate removed (0 without a covariate), so the
    same precision needs that share fewer users.
    """

    estimate: float
    standard_error: float
    n_champion: int
    n_challenger: int
    degrees_of_freedom: float
    theta: float = 0.0
    variance_saved: float = 0.0

    @property
    def z(self) -> float:
        """The estimate in standard errors; 0 for an estimate of exactly 0, infinite when nothing varies."""
        if self.standard_error > 0.0:
            return self.estimate / self.standard_error
        return math.copysign(math.inf, self.estimate) if self.estimate else 0.0


def difference(champion: Moments, challenger: Moments) -> Difference:
    """The unadjusted difference of means with Welch's standard error and degrees of freedom.

    >>> difference(Moments.of([1.0, 2.0, 3.0]), Moments.of([2.0, 3.0, 4.0])).estimate
    1.0
    """
    return _welch(champion, challenger, 0.0)


def adjust(champion: Moments, challenger: Moments) -> Difference:
    """The difference of means after regression on the covariate.

    The coefficient is pooled within the arms, so a difference between the arms never leaks into it, and it is the
    minimiser of the adjusted variance when both arms share it. The covariate must not be affected by the arm.

    Raises:
        ValueError: an arm has fewer than three units.

    >>> import numpy as np
    >>> rng = np.random.default_rng(7)
    >>> x = rng.normal(size=4000)
    >>> y = x + rng.normal(size=4000) + 0.1 * (np.arange(4000) % 2)
    >>> d = adjust(Moments.of(y[0::2], x[0::2]), Moments.of(y[1::2], x[1::2]))
    >>> round(d.variance_saved, 1)
    0.5
    """
    if min(champion.n, challenger.n) < 3:
        raise ValueError("regression adjustment needs at least three units in each arm")
    xx = champion.xx + challenger.xx
    theta = (champion.xy + challenger.xy) / xx if xx > 0.0 else 0.0
    return _welch(champion, challenger, theta)


def _welch(champion: Moments, challenger: Moments, theta: float) -> Difference:
    raw = _variance_of_mean(champion, 0.0) + _variance_of_mean(challenger, 0.0)
    a, b = _variance_of_mean(champion, theta), _variance_of_mean(challenger, theta)
    total = a + b
    spread = (a * a / (champion.n - 1) if champion.n > 1 else 0.0) + (
        b * b / (challenger.n - 1) if challenger.n > 1 else 0.0
    )
    return Difference(
        estimate=(challenger.mean - champion.mean) - theta * (challenger.mean_x - champion.mean_x),
        standard_error=math.sqrt(total),
        n_champion=champion.n,
        n_challenger=challenger.n,
        degrees_of_freedom=total * total / spread if spread > 0.0 else math.inf,
        theta=theta,
        variance_saved=1.0 - total / raw if raw > 0.0 else 0.0,
    )


def _variance_of_mean(arm: Moments, theta: float) -> float:
    if arm.n < 2:
        return 0.0
    residual = arm.yy - 2.0 * theta * arm.xy + theta * theta * arm.xx
    # The coefficient takes one more degree of freedom; half of it is charged to each arm when it is fitted.
    return max(residual, 0.0) / (arm.n - (1.5 if theta else 1.0)) / arm.n


def combine(strata: Sequence[Difference]) -> Difference:
    """One difference from strata in which the allocation was constant, weighted by their effective units n₀n₁/(n₀+n₁).

    When weights change during an experiment, arms as a whole saw different times of day; inside a stratum they did not.
    Strata without two units in each arm add nothing.

    >>> a = Difference(1.0, 0.1, 100, 100, 198.0)
    >>> both = combine([a, a])
    >>> both.estimate, round(both.standard_error, 4), both.n_champion
    (1.0, 0.0707, 200)
    """
    usable = [s for s in strata if min(s.n_champion, s.n_challenger) >= 2]
    if not usable:
        return Difference(0.0, 0.0, sum(s.n_champion for s in strata), sum(s.n_challenger for s in strata), math.inf)
    if len(usable) == 1:
        return usable[0]
    units = [s.n_champion * s.n_challenger / (s.n_champion + s.n_challenger) for s in usable]
    shares = [u / sum(units) for u in units]
    parts = [(w * s.standard_error) ** 2 for w, s in zip(shares, usable, strict=True)]
    variance = sum(parts)
    spread = sum(p * p / s.degrees_of_freedom for p, s in zip(parts, usable, strict=True))
    raw = sum(p / (1.0 - s.variance_saved) for p, s in zip(parts, usable, strict=True))
    return Difference(
        estimate=sum(w * s.estimate for w, s in zip(shares, usable, strict=True)),
        standard_error=math.sqrt(variance),
        n_champion=sum(s.n_champion for s in usable),
        n_challenger=sum(s.n_challenger for s in usable),
        degrees_of_freedom=variance * variance / spread if spread > 0.0 else math.inf,
        theta=sum(w * s.theta for w, s in zip(shares, usable, strict=True)),
        variance_saved=1.0 - variance / raw if raw > 0.0 else 0.0,
    )
