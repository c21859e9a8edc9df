"""Self-normalised inverse propensity scoring (Hájek 1971; Swaminathan and Joachims, "The self-normalized estimator", NIPS 2015)."""

from __future__ import annotations

from typing import ClassVar

from maestro.decisions.off_policy._base import Estimate, Logged, interval
from maestro.decisions.off_policy.overlap import check_overlap


class SelfNormalised:
    """The weighted mean of rewards: never outside their range, indifferent to a constant added to them; biased by order 1/n."""

    name: ClassVar[str] = "snips"

    def estimate(self, logged: Logged, *, clip: float | None = None, confidence: float = 0.95) -> Estimate:
        """Estimate; the interval by the delta method."""
        weights = check_overlap(logged, clip, confidence)
        value = float((weights * logged.reward).sum() / weights.sum())
        deviations = weights * (logged.reward - value) / weights.mean()
        return interval(self.name, logged, weights, clip, value, deviations, confidence)
