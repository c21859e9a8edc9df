"""Anytime-valid comparison of two arms by betting on blocks, where single events are correlated.

Each block (a second of traffic) gives d_t = bad share of the challenger - bad share of the champion, in [-1, 1]. For the null
E[d_t | past] <= c the wealth is multiplied by 1 + bet (d_t - c), for E[d_t | past] >= c by 1 + bet (c - d_t), with a bet from the past and
from the sizes of the block that keeps the factor positive. What happens inside a block is free: its events may depend on each
other as they like. A load that slows both arms cancels in d_t.

Source: Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maestro.decisions.sequential.hypotheses import (
    STRATEGIES,
    Floats,
    Hypotheses,
    alternatives,
    bounds,
    estimates,
    log_mixture,
    share,
)

__all__ = ["BoundedMean", "bounds", "update"]

DISCOUNT = 0.98
"""What a block leaves of the memory of earlier ones."""

BOLDNESS = 0.95
"""The share of the wealth that may be lost in one block."""


@dataclass(frozen=True)
class BoundedMean:
    """Evidence of one or many comparisons; leading dimensions are independent comparisons.

    Args:
        log_wealth: (..., nulls, strategies) log wealth of each strategy.
        peak: (..., nulls) the largest log e-value so far.
        memory: (..., 6) discounted bad and all events of the champion, of the challenger, then squared standardised
            deviations of blocks and their number.
    """

    log_wealth: Floats
    peak: Floats
    memory: Floats

    @classmethod
    def start(
        cls, hypotheses: Hypotheses, shape: tuple[int, ...] = (), baseline: tuple[int, int] = (0, 0)
    ) -> BoundedMean:
        """No evidence. `baseline` is the champion's (bad, all) from before: it only helps to choose bets."""
        memory = np.zeros((*shape, 6))
        memory[..., :2] = baseline
        return cls(np.zeros((*shape, hypotheses.count, STRATEGIES)), np.zeros((*shape, hypotheses.count)), memory)


def update(hypotheses: Hypotheses, evidence: BoundedMean, block: Floats) -> BoundedMean:
    """Add one block.

    Args:
        hypotheses: the nulls, on the mean of d_t given the past.
        evidence: what earlier blocks left.
        block: (..., 4) bad and all events of the champion, bad and all of the challenger. A block with an empty arm is skipped.

    >>> h = Hypotheses(above=(0.025,), below=(0.1,), scale=0.1)
    >>> e = BoundedMean.start(h)
    >>> for _ in range(34):
    ...     e = update(h, e, np.array([0, 90, 0, 10]))
    >>> [float(bound) for bound in bounds(h, e.peak, 0.05, 0.05)]
    [-1.0, 0.1]
    """
    block = np.asarray(block, dtype=np.float64)
    usable = (block[..., 1] > 0) & (block[..., 3] > 0)
    n_a, n_b = (np.where(usable, block[..., column], 1.0) for column in (1, 3))
    d = np.where(usable, block[..., 2] / n_b - block[..., 0] / n_a, 0.0)

    counts, squares, blocks = evidence.memory[..., :4], evidence.memory[..., 4], evidence.memory[..., 5]
    dispersion = np.clip((squares + 5.0) / (blocks + 5.0), 1.0, 100.0)
    a, b = alternatives(hypotheses, counts)
    sizes_a, sizes_b = n_a[..., None, None], n_b[..., None, None]
    variance = dispersion[..., None, None] * (a * (1 - a) / sizes_a + b * (1 - b) / sizes_b)
    signs, thresholds = hypotheses.signs[:, None], hypotheses.thresholds[:, None]
    gap = np.maximum(signs * (b - a - thresholds), 0.0)
    bet = np.minimum(gap / (variance + gap**2), BOLDNESS / (1 + signs * thresholds))
    gain = np.where(usable[..., None, None], np.log1p(bet * signs * (d[..., None, None] - thresholds)), 0.0)
    log_wealth = np.where(usable[..., None, None], share(hypotheses, evidence.log_wealth), evidence.log_wealth) + gain

    champion, challenger = estimates(counts, hypotheses.floor)
    expected = champion * (1 - champion) / n_a + challenger * (1 - challenger) / n_b
    learnt = np.concatenate([block, np.stack([(d - (challenger - champion)) ** 2 / expected, np.ones_like(d)], -1)], -1)
    memory = np.where(usable[..., None], DISCOUNT * evidence.memory + learnt, evidence.memory)
    return BoundedMean(log_wealth, np.maximum(evidence.peak, log_mixture(log_wealth)), memory)
