"""What a sequential comparison of two arms tests: one-sided nulls on the difference, and the alternatives it bets on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STRATEGIES = 3
"""Strategies mixed for each null: two fixed differences and one that follows the data."""

SHARED = 0.01
"""The part of every strategy's wealth that is shared out again before each look, on nulls that show harm."""

REGULARISATION = 10.0
"""Pseudo-observations that pull the estimated challenger towards the champion."""


@dataclass(frozen=True)
class Hypotheses:
    """One-sided nulls on d = challenger's rate - champion's rate.

    Args:
        above: thresholds c of nulls `d <= c`; rejecting one shows that d is above c (harm, a lower bound).
        below: thresholds c of nulls `d >= c`; rejecting one shows that d is below c (promotion, an upper bound).
        scale: the difference that matters (the margin); alternatives are placed in units of it.

    Raises:
        ValueError: a threshold outside (-1, 1), or a scale outside (0, 1).

    >>> Hypotheses(above=(0.005,), below=(0.02, 0.06), scale=0.02).count
    3
    """

    above: tuple[float, ...]
    below: tuple[float, ...]
    scale: float

    def __post_init__(self) -> None:
        if not 0.0 < self.scale < 1.0:
            raise ValueError(f"scale must lie in (0, 1), not {self.scale}")
        if any(not -1.0 < value < 1.0 for value in (*self.above, *self.below)):
            raise ValueError("a threshold on a difference of rates must lie in (-1, 1)")

    @property
    def count(self) -> int:
        """Number of nulls."""
        return len(self.above) + len(self.below)

    @cached_property
    def thresholds(self) -> Floats:
        """(nulls,) those of `above`, then those of `below`."""
        return np.array((*self.above, *self.below), dtype=np.float64)

    @cached_property
    def signs(self) -> Floats:
        """(nulls,) +1 where the alternative lies above the threshold, -1 where it lies below."""
        return np.repeat([1.0, -1.0], [len(self.above), len(self.below)])

    @cached_property
    def targets(self) -> Floats:
        """(nulls, 2) the fixed differences that the first two strategies bet on.

        Above a threshold: one and three scales over it. Below a threshold: no difference, and half-way to it.
        """
        above, below = np.array(self.above), np.array(self.below)
        reach = np.maximum(below, self.scale)
        fixed = [
            np.stack([above + self.scale, above + 3 * self.scale], -1),
            np.stack([below - reach, below - reach / 2], -1),
        ]
        targets: Floats = np.clip(np.concatenate(fixed), -0.999, 0.999)
        return targets

    @property
    def floor(self) -> float:
        """The smallest rate an alternative assumes: a fiftieth of the scale, so that one bad event cannot ruin a bet."""
        return self.scale / 50


def estimates(memory: Floats, floor: float) -> tuple[Floats, Floats]:
    """Shrunk rates of champion and challenger from remembered counts.

    Args:
        memory: (..., 4) bad and all events of the champion, bad and all of the challenger, possibly discounted.
        floor: rates are kept in [floor, 1 - floor].

    >>> [float(rate) for rate in estimates(np.array([0.0, 99.0, 0.0, 10.0]), 0.001)]
    [0.005, 0.0025]
    """
    champion = (memory[..., 0] + 0.5) / (memory[..., 1] + 1.0)
    challenger = (memory[..., 2] + REGULARISATION * champion) / (memory[..., 3] + REGULARISATION)
    return np.clip(champion, floor, 1 - floor), np.clip(challenger, floor, 1 - floor)


def alternatives(hypotheses: Hypotheses, memory: Floats) -> tuple[Floats, Floats]:
    """(..., nulls, strategies) rates of champion and challenger that each strategy bets on; from the past only."""
    floor = hypotheses.floor
    champion, challenger = estimates(memory, floor)
    shape = (*champion.shape, hypotheses.count, STRATEGIES)
    a = np.broadcast_to(champion[..., None, None], shape)
    b = np.empty(shape)
    b[..., :2] = np.clip(a[..., :2] + hypotheses.targets, floor, 1 - floor)
    b[..., 2] = challenger[..., None]
    return a, b


def share(hypotheses: Hypotheses, log_wealth: Floats) -> Floats:
    """Share a part of the wealth out equally among the strategies of each null of `above`.

    The mean over strategies stays what it was, thus an e-process; and a fixed alternative that a long good time has impoverished is
    funded again, so that a challenger that fails late is found as soon as one that fails early.
    """
    split = len(hypotheses.above)
    if split == 0:
        return log_wealth
    harm = log_wealth[..., :split, :]
    part = np.log(SHARED) + log_mixture(harm)[..., None]
    shared = np.logaddexp(np.log1p(-SHARED) + harm, part)
    return np.concatenate([shared, log_wealth[..., split:, :]], -2)


def log_mixture(log_wealth: Floats) -> Floats:
    """(..., nulls) log of the mean wealth over strategies: a mean of e-processes is an e-process."""
    top = log_wealth.max(-1)
    mixture: Floats = top + np.log(np.exp(log_wealth - top[..., None]).mean(-1))
    return mixture


def bounds(hypotheses: Hypotheses, log_e: Floats, alpha_lower: float, alpha_upper: float) -> tuple[Floats, Floats]:
    """Confidence bounds by inversion over the thresholds, rounded outward to them.

    Args:
        hypotheses: the nulls.
        log_e: (..., nulls) the largest log e-value so far of each null.
        alpha_lower: error probability of the lower bound, at any stopping time.
        alpha_upper: the same for the upper bound.

    Returns:
        lower and upper, (...,); -1 and 1 where nothing is excluded yet.

    >>> lower, upper = bounds(Hypotheses((0.0, 0.1), (0.1, 0.2), 0.1), np.array([4.0, 1.0, 2.0, 5.0]), 0.05, 0.05)
    >>> float(lower), float(upper)
    (0.0, 0.2)
    """
    split = len(hypotheses.above)
    thresholds = hypotheses.thresholds
    lower_hit = log_e[..., :split] >= -np.log(alpha_lower)
    upper_hit = log_e[..., split:] >= -np.log(alpha_upper)
    lower = np.where(lower_hit, thresholds[:split], -1.0).max(-1, initial=-1.0)
    upper = np.where(upper_hit, thresholds[split:], 1.0).min(-1, initial=1.0)
    return lower, upper
