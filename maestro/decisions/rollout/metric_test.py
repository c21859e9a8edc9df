"""The tests of one metric of a policy: which nulls, on which kind of evidence, and where the rungs' margins stand among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maestro.core.policy import MetricPolicy, RolloutPolicy
from maestro.decisions.sequential import bounded_mean, two_proportions
from maestro.decisions.sequential.bounded_mean import BoundedMean
from maestro.decisions.sequential.hypotheses import Floats, Hypotheses
from maestro.decisions.sequential.two_proportions import TwoProportions

Evidence = TwoProportions | BoundedMean
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class MetricTest:
    """How one metric is judged.

    Args:
        name: the metric.
        event: `error` and `wrong` are counted one by one, `latency` in blocks of a second.
        margin: the margin where it is earned in full.
        tolerated: what is never a reason to roll back; the first null of `above`.
        hypotheses: the nulls.
        rungs: for each rung but the last, the index of the null that leaving it refutes; None where the margin is vacuous.
    """

    name: str
    event: Literal["error", "latency", "wrong"]
    margin: float
    tolerated: float
    hypotheses: Hypotheses
    rungs: tuple[int | None, ...]

    def start(self, shape: tuple[int, ...] = (), baseline: tuple[int, int] = (0, 0)) -> Evidence:
        """No evidence."""
        kind = BoundedMean if self.event == "latency" else TwoProportions
        return kind.start(self.hypotheses, shape, baseline)

    def update(self, evidence: Evidence, counts: Floats) -> Evidence:
        """Add a look's counts (..., 4), or one block of it for latency."""
        if isinstance(evidence, BoundedMean):
            return bounded_mean.update(self.hypotheses, evidence, counts)
        return two_proportions.update(self.hypotheses, evidence, counts)

    def earned(self, evidence: Evidence, rung: int, alpha: float) -> Flags:
        """(...,) whether d is shown to lie below the margin of `rung`. A vacuous margin needs nothing."""
        null = self.rungs[rung]
        if null is None:
            return np.ones(evidence.peak.shape[:-1], dtype=np.bool_)
        return np.asarray(evidence.peak[..., null] >= -np.log(alpha))

    def harmed(self, evidence: Evidence, alpha: float) -> Flags:
        """(...,) whether d is shown to exceed what is tolerated; `alpha` is this metric's part."""
        return np.asarray(evidence.peak[..., 0] >= -np.log(alpha))


def metric_tests(policy: RolloutPolicy, *, printed: bool = True) -> tuple[MetricTest, ...]:
    """The tests of a policy.

    With `printed`, further thresholds give the bounds that people read; they change no decision.
    """
    return tuple(
        _metric_test(metric, [rung.margin_factor for rung in policy.rungs[:-1]], printed) for metric in policy.metrics
    )


def _metric_test(metric: MetricPolicy, factors: Sequence[float], printed: bool) -> MetricTest:
    margins = [round(metric.margin * factor, 12) for factor in factors]
    above = [metric.tolerated]
    below = sorted({margin for margin in margins if margin < 1})
    if printed:
        ladder = _ladder(metric.margin)
        above += [value for value in ladder if value not in above]
        below += [value for value in ladder if value not in below]
    hypotheses = Hypotheses(tuple(above), tuple(below), metric.margin)
    rungs = tuple(len(above) + below.index(margin) if margin < 1 else None for margin in margins)
    return MetricTest(metric.name, metric.event, metric.margin, metric.tolerated, hypotheses, rungs)


def _ladder(margin: float) -> list[float]:
    """0 and both signs of quarters to sixteenfolds of the margin, two steps to a doubling, inside (-1, 1)."""
    steps = [float(f"{margin * 2 ** (half / 2):.4g}") for half in range(-4, 9)]
    positive = [value for value in steps if value < 1]
    return [-value for value in reversed(positive)] + [0.0, *positive]
