"""Crossing probabilities of a discretely watched test statistic, by numerical integration.

Source: Armitage, McPherson and Rowe, "Repeated significance tests on accumulating data", JRSS A 1969; Jennison and
Turnbull, "Group Sequential Methods" (2000), chapter 19. With information fraction t the score S(t) = Z(t)·√t is a
Brownian motion with a drift equal to the expected z at full information, so its density inside the continuation region
is passed from look to look by one matrix product on Gauss–Legendre nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

FAR = 8.0
"""A bound in z at which nothing measurable crosses (7e-16)."""


@lru_cache(maxsize=256)
def _nodes(count: int) -> tuple[Floats, Floats]:
    x, w = np.polynomial.legendre.leggauss(count)
    return np.asarray(x, dtype=np.float64), np.asarray(w, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Walk:
    """The part of the walk that has not stopped: its mass at nodes of the score, at information `time`."""

    time: float
    score: Floats
    mass: Floats
    drift: float

    @classmethod
    def start(cls, drift: float = 0.0) -> Walk:
        """The walk before the first look; `drift` is the expected z at full information."""
        return cls(0.0, np.zeros(1), np.ones(1), drift)

    def _standard(self, z: float, time: float) -> Floats:
        step = time - self.time
        standard: Floats = (z * math.sqrt(time) - self.score - self.drift * step) / math.sqrt(step)
        return standard

    def above(self, z: float, time: float) -> float:
        """The probability of still being under way and then having a statistic above `z` at the look at `time`."""
        return float(self.mass @ special.ndtr(-self._standard(z, time)))

    def below(self, z: float, time: float) -> float:
        """The probability of still being under way and then having a statistic below `z` at the look at `time`."""
        return float(self.mass @ special.ndtr(self._standard(z, time)))

    def onward(self, lower: float, upper: float, time: float) -> Walk:
        """The walk that had a statistic between `lower` and `upper` at the look at `time`."""
        if lower >= upper:
            return Walk(time, np.zeros(1), np.zeros(1), self.drift)
        step = time - self.time
        root = math.sqrt(time)
        # Mass further than FAR from where the walk can be is nothing: do not spend nodes on it.
        reach = FAR * math.sqrt(step)
        low = max(lower * root, float(self.score.min()) + self.drift * step - reach)
        high = min(upper * root, float(self.score.max()) + self.drift * step + reach)
        if low >= high:
            return Walk(time, np.zeros(1), np.zeros(1), self.drift)
        count = min(max(math.ceil(6.0 * (high - low) / math.sqrt(step)), 40), 480)
        x, w = _nodes(count)
        half = (high - low) / 2.0
        score = low + half * (x + 1.0)
        gap = (score[:, None] - self.score[None, :] - self.drift * step) / math.sqrt(step)
        density = np.exp(-0.5 * gap * gap) @ self.mass / math.sqrt(2.0 * math.pi * step)
        return Walk(time, score, density * w * half, self.drift)


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where a walk stops: for each look the probability of leaving above, below, and into the inner wedge."""

    above: tuple[float, ...]
    below: tuple[float, ...]
    inner: tuple[float, ...]
    remaining: float


def crossing(
    times: Sequence[float],
    upper: Sequence[float],
    lower: Sequence[float],
    drift: float,
    inner: Sequence[float] | None = None,
) -> Crossing:
    """Where the walk stops under the given bounds.

    Args:
        times: rising information fractions of the looks.
        upper: at each look, stop above this z.
        lower: at each look, stop below this z.
        drift: expected z at full information.
        inner: at each look, stop as well between `lower` and this z (futility).

    >>> published = crossing([1, 2, 3, 4, 5], [1.96] * 5, [-1.96] * 5, 0.0)
    >>> round(1 - published.remaining, 3)
    0.142
    """
    check_times(times)
    walk = Walk.start(drift)
    above, below, wedge = [], [], []
    for k, time in enumerate(times):
        floor = lower[k] if inner is None else min(max(lower[k], inner[k]), upper[k])
        above.append(walk.above(upper[k], time))
        below.append(walk.below(lower[k], time))
        wedge.append(walk.below(floor, time) - below[-1])
        walk = walk.onward(floor, upper[k], time)
    return Crossing(tuple(above), tuple(below), tuple(wedge), float(walk.mass.sum()))


def check_times(times: Sequence[float]) -> None:
    """Refuse looks that are not positive and rising.

    Raises:
        ValueError: there is no look, or information does not rise from look to look.
    """
    if not times or times[0] <= 0.0 or any(b - a <= 1e-9 for a, b in pairwise(times)):
        raise ValueError("times: information must be positive and rise from look to look")
