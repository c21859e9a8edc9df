"""What every off-policy estimator takes, gives and owes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from maestro.core.errors import BadInput
from maestro.core.model import Model

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Logged:
    """Decisions with their rewards, one entry a unit, and what the target policy would have done.

    Args:
        arm: position of the chosen arm.
        reward: what it brought.
        propensity: the probability with which it was chosen, in (0, 1].
        target: the target policy's probability of every arm, units × arms.
        context: units × numbers, NaN where one is missing; None when the log has none.

    Raises:
        BadInput: the arrays do not fit together, or hold what cannot be; names the column.
    """

    arm: Integers
    reward: Floats
    propensity: Floats
    target: Floats
    context: Floats | None = None

    def __post_init__(self) -> None:
        size = self.arm.size
        if self.reward.shape != (size,) or self.propensity.shape != (size,) or self.target.shape[:1] != (size,):
            raise BadInput("one reward, propensity and row of target for each decision", field="arm")
        if size and not (self.arm.min() >= 0 and self.arm.max() < self.target.shape[1]):
            raise BadInput("a decision names an arm that the target has not", field="arm")
        if not np.isfinite(self.reward).all():
            raise BadInput(
                "a reward is missing or not finite", field="reward", remedy="leave out decisions without one"
            )
        if not ((self.propensity > 0.0) & (self.propensity <= 1.0)).all():
            raise BadInput(
                "propensity must lie in (0, 1]",
                field="propensity",
                remedy="record the probability with which the arm was chosen",
            )
        if (self.target < 0.0).any() or not np.allclose(self.target.sum(axis=1), 1.0, atol=1e-9):
            raise BadInput("the target's probabilities do not add up to 1", field="target")
        if self.context is not None and self.context.shape[:1] != (size,):
            raise BadInput("one context for each decision", field="context")

    @property
    def size(self) -> int:
        """Decisions."""
        return int(self.arm.size)

    def weights(self, clip: float | None) -> Floats:
        """Target probability over propensity of the chosen arm, at most `clip`."""
        weights: Floats = self.target[np.arange(self.size), self.arm] / self.propensity
        return weights if clip is None else np.minimum(weights, clip)


class Estimate(Model):
    """A policy's mean reward with its interval, and what it rests on.

    `effective_sample_size` is (Σw)² / Σw²: the number of decisions of the target itself that would say as much. `clip` is the bound put on weights and
    `clipped_share` the share of decisions on which it told; clipping makes the interval narrower and the estimate biased towards the logged policy.
    `mean_weight` is 1 up to chance when the recorded propensities are right.
    """

    estimator: str
    value: float
    lower: float
    upper: float
    confidence: float
    decisions: int
    effective_sample_size: float
    mean_weight: float
    max_weight: float
    clip: float | None = None
    clipped_share: float = 0.0


class OffPolicyEstimator(Protocol):
    """Estimates the target's mean reward.

    Obligations: consistent when the propensities are those with which the log was made; `lower` to `upper` covers the true value in about the asked
    share of repetitions; refuses a log that has no overlap with the target instead of guessing; the same log gives the same numbers.
    """

    name: ClassVar[str]

    def estimate(self, logged: Logged, *, clip: float | None = None, confidence: float = 0.95) -> Estimate:
        """Estimate.

        Args:
            clip: bound on the weights, at least 1; None clips nothing.
            confidence: of the interval, in (0, 1).

        Raises:
            BadInput: there is no overlap, or an argument is out of its range; names the field.
        """
        ...


def interval(
    name: str, logged: Logged, weights: Floats, clip: float | None, value: float, deviations: Floats, confidence: float
) -> Estimate:
    """An estimate from its influence values: normal interval of half-width z · sd / √n."""
    size = logged.size
    half = float(stats.norm.ppf(0.5 + confidence / 2) * deviations.std(ddof=1) / np.sqrt(size))
    raw = logged.weights(None)
    return Estimate(
        estimator=name,
        value=value,
        lower=value - half,
        upper=value + half,
        confidence=confidence,
        decisions=size,
        effective_sample_size=effective_size(weights),
        mean_weight=float(raw.mean()),
        max_weight=float(raw.max()),
        clip=clip,
        clipped_share=0.0 if clip is None else float((raw > clip).mean()),
    )


def effective_size(weights: Floats) -> float:
    """Kish's effective sample size.

    >>> effective_size(np.array([1.0, 1.0, 1.0, 1.0])), effective_size(np.array([4.0, 0.0, 0.0, 0.0]))
    (4.0, 1.0)
    """
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0
