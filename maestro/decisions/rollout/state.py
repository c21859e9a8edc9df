"""What a rollout knows after a look: all that the next step needs besides the policy and the next look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from pydantic import Field

from maestro.core.decision import Verdict
from maestro.core.model import Digest, Model
from maestro.core.policy import RolloutPolicy
from maestro.decisions.rollout.metric_test import Evidence, MetricTest, metric_tests
from maestro.decisions.sample_ratio import SampleRatio
from maestro.decisions.sequential.bounded_mean import BoundedMean
from maestro.decisions.sequential.hypotheses import Floats, Hypotheses
from maestro.decisions.sequential.two_proportions import TwoProportions

FreezeCause = Literal["source", "no_data", "sample_ratio", "labels", "human"]

STICKY: frozenset[str] = frozenset({"sample_ratio", "labels", "human"})
"""Freezes that only a person lifts. The others end when data are back."""

_DECIMALS = 6


class EvidenceState(Model):
    """Evidence as JSON. Log e-values are rounded down, so that rounding never adds evidence."""

    log_wealth: tuple[tuple[float, ...], ...]
    peak: tuple[float, ...]
    memory: tuple[float, ...]

    @classmethod
    def pack(cls, evidence: Evidence) -> Self:
        """From arrays without leading dimensions."""
        return cls(
            log_wealth=tuple(tuple(row) for row in _floor(evidence.log_wealth).tolist()),
            peak=tuple(_floor(evidence.peak).tolist()),
            memory=tuple(np.round(evidence.memory, _DECIMALS).tolist()),
        )

    def unpack(self) -> Evidence:
        """To arrays; the length of the memory tells which kind of evidence it is."""
        kind = BoundedMean if len(self.memory) == 6 else TwoProportions
        return kind(np.array(self.log_wealth), np.array(self.peak), np.array(self.memory))


class MetricState(Model):
    """One metric: its evidence and, for people, what it was drawn from."""

    evidence: EvidenceState
    champion: tuple[int, int] = (0, 0)
    challenger: tuple[int, int] = (0, 0)
    missing: tuple[EvidenceState, EvidenceState] | None = Field(
        default=None, description="labels missing more often in the challenger, and in the champion"
    )


class SampleRatioState(Model):
    """The sample-ratio test of the present rung."""

    log_e: float = 0.0
    peak: float = 0.0
    carried: tuple[float, ...] = (0.0, 0.0)

    @classmethod
    def pack(cls, state: SampleRatio) -> Self:
        """From arrays without leading dimensions."""
        log_e, peak = float(_floor(state.log_e)), float(_floor(state.peak))
        return cls(log_e=log_e, peak=peak, carried=tuple(state.carried.tolist()))

    def unpack(self, shares: tuple[float, ...]) -> SampleRatio:
        """To arrays; the shares do not change within a rung."""
        return SampleRatio(np.array(self.log_e), np.array(self.peak), np.array(self.carried), shares)


class Freeze(Model):
    """Why nothing moves."""

    cause: FreezeCause
    detail: str


class RolloutState(Model):
    """The state of a rollout, as the record of a step carries it."""

    policy: Digest
    rung: int = Field(default=0, ge=0, description="index into the policy's rungs")
    metrics: dict[str, MetricState]
    sample_ratio: SampleRatioState = SampleRatioState()
    looks: int = 0
    requests: int = 0
    elapsed_ms: int = 0
    rung_requests: tuple[int, int] = Field(default=(0, 0), description="events of champion and challenger on this rung")
    rung_elapsed_ms: int = 0
    limits: dict[str, float] = Field(
        default_factory=dict, description="rate that the challenger alone may have in the bake"
    )
    frozen: Freeze | None = None
    ended: Verdict | None = None
    history: tuple[tuple[int, Verdict], ...] = Field(default=(), description="(weight, verdict), repetitions collapsed")
    predicted: tuple[dict[str, int], ...] = Field(
        default=(), description="by rung: challenger's events needed, by metric"
    )


def start(
    policy: RolloutPolicy,
    *,
    baseline: Mapping[str, tuple[int, int]] | None = None,
    predicted: tuple[dict[str, int], ...] = (),
) -> RolloutState:
    """A rollout on its first rung.

    Args:
        policy: the rules.
        baseline: the champion's (bad, all) by metric from before the rollout, where known. It makes the first looks more
            powerful and touches no error probability.
        predicted: what `predict(...)` gave, to be printed beside each reason.
    """
    known = baseline or {}
    return RolloutState(
        policy=policy.content_digest(),
        metrics={
            test.name: MetricState(
                evidence=EvidenceState.pack(test.start(baseline=known.get(test.name, (0, 0)))),
                missing=_no_missing(test) if test.event == "wrong" else None,
            )
            for test in metric_tests(policy)
        },
        predicted=predicted,
    )


def release(state: RolloutState) -> RolloutState:
    """Lift a freeze, on a person's word. Tests that froze the rollout begin anew; evidence on the metrics stays."""
    metrics = {
        name: metric
        if metric.missing is None
        else metric.model_copy(update={"missing": tuple(map(_restart, metric.missing))})
        for name, metric in state.metrics.items()
    }
    return state.model_copy(update={"frozen": None, "sample_ratio": SampleRatioState(), "metrics": metrics})


def missing_hypotheses(tolerated: float) -> Hypotheses:
    """The null that labels are missing more often in one arm by at most what is tolerated of the metric itself.

    A smaller difference cannot move the metric's difference by much more.
    """
    return Hypotheses((tolerated,), (), min(4 * tolerated, 0.5)) if tolerated > 0 else Hypotheses((0.0,), (), 0.01)


def _no_missing(test: MetricTest) -> tuple[EvidenceState, EvidenceState]:
    empty = EvidenceState.pack(TwoProportions.start(missing_hypotheses(test.tolerated)))
    return empty, empty


def _restart(state: EvidenceState) -> EvidenceState:
    return EvidenceState(
        log_wealth=tuple(tuple(0.0 for _ in row) for row in state.log_wealth),
        peak=tuple(0.0 for _ in state.peak),
        memory=state.memory,
    )


def _floor(values: Floats) -> Floats:
    floored: Floats = np.floor(values * 10**_DECIMALS) / 10**_DECIMALS
    return floored
