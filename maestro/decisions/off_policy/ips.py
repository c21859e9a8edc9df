"""Inverse propensity scoring (Horvitz and Thompson 1952; Bottou et al., "Counterfactual reasoning and learning systems", JMLR 2013)."""

from __future__ import annotations

from typing import ClassVar

from maestro.decisions.off_policy._base import Estimate, Logged, interval
from maestro.decisions.off_policy.overlap import check_overlap


class InversePropensity:
    """The mean of weight times reward: unbiased without clipping, wide when weights are."""

    name: ClassVar[str] = "ips"

    def estimate(self, logged: Logged, *, clip: float | None = None, confidence: float = 0.95) -> Estimate:
        """Estimate."""
        weights = check_overlap(logged, clip, confidence)
        terms = weights * logged.reward
        return interval(self.name, logged, weights, clip, float(terms.mean()), terms, confidence)
