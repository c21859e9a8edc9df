"""Sample-ratio mismatch, tested as often as one likes: do the arms get the units that their weights promise?

A Dirichlet-multinomial mixture against the expected shares is a martingale under them; it exceeds 1/level with probability
at most `level`, over all looks together. Source: Lindon and Malek (2022), Anytime-valid inference for multinomial count data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from maestro.decisions.sequential.hypotheses import Floats

LEVEL = 0.001
"""The probability of a false alarm, over all looks."""

CONCENTRATION = 500.0
"""Units' worth of belief in the expected shares: shares that are off by a few hundredths are looked for first."""


@dataclass(frozen=True)
class SampleRatio:
    """What earlier looks left; leading dimensions are independent experiments.

    Args:
        log_e: (...,) log e-value against the expected shares.
        peak: (...,) the largest so far.
        carried: (..., arms) units seen, in proportion to the shares of the last look.
        shares: (arms,) the expected shares of the last look; empty before the first.
    """

    log_e: Floats
    peak: Floats
    carried: Floats
    shares: tuple[float, ...] = ()

    @classmethod
    def start(cls, arms: int = 2, shape: tuple[int, ...] = ()) -> SampleRatio:
        """No unit seen."""
        return cls(np.zeros(shape), np.zeros(shape), np.zeros((*shape, arms)))

    def mismatch(self, level: float = LEVEL) -> np.bool_ | np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """(...,) whether the shares are refuted at `level`."""
        verdict: np.bool_ | np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = self.peak >= -np.log(level)
        return verdict


def update(state: SampleRatio, counts: Floats, shares: tuple[float, ...]) -> SampleRatio:
    """Add the first exposures of a look.

    Args:
        state: what earlier looks left.
        counts: (..., arms) units that were exposed for the first time since the look before; a unit counts once.
        shares: (arms,) expected shares in force since the look before, positive, adding up to 1. They may differ from look to
            look: what was learnt about an arm's excess is carried as a ratio to its share.

    Raises:
        ValueError: shares that are not positive or do not add up to 1.

    >>> state = SampleRatio.start()
    >>> fair = update(state, np.array([9012, 988]), (0.9, 0.1))
    >>> bool(fair.mismatch()), bool(update(fair, np.array([5300, 4700]), (0.5, 0.5)).mismatch())
    (False, True)
    """
    expected = np.asarray(shares, dtype=np.float64)
    if np.any(expected <= 0) or abs(expected.sum() - 1.0) > 1e-9:
        raise ValueError(f"expected shares must be positive and add up to 1, not {shares}")
    counts = np.asarray(counts, dtype=np.float64)
    carried = state.carried
    if state.shares and state.shares != tuple(shares):
        scaled = carried * expected / np.asarray(state.shares)
        total = scaled.sum(-1, keepdims=True)
        carried = np.where(total > 0, scaled * carried.sum(-1, keepdims=True) / np.where(total > 0, total, 1.0), scaled)
    belief = CONCENTRATION * expected + carried
    gain = (
        np.sum(gammaln(belief + counts) - gammaln(belief) - counts * np.log(expected), -1)
        + gammaln(belief.sum(-1))
        - gammaln(belief.sum(-1) + counts.sum(-1))
    )
    log_e = state.log_e + gain
    return SampleRatio(log_e, np.maximum(state.peak, log_e), carried + counts, tuple(shares))
