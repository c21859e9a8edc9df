"""One step of a rollout: from a policy, the state after the look before, and a look, to a verdict with its reasons.

Precedence: a person's freeze, roll back, other freezes, promote, undecided at budget, keep going.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from maestro.core.decision import Verdict
from maestro.core.errors import BadInput, Conflict
from maestro.core.model import Model
from maestro.core.policy import MetricPolicy, RolloutPolicy
from maestro.decisions import sample_ratio
from maestro.decisions.rollout.freeze import fault_of, freeze_of
from maestro.decisions.rollout.look import Look
from maestro.decisions.rollout.metric_test import Evidence, MetricTest, metric_tests
from maestro.decisions.rollout.state import (
    STICKY,
    EvidenceState,
    MetricState,
    RolloutState,
    SampleRatioState,
    missing_hypotheses,
)
from maestro.decisions.sequential import two_proportions
from maestro.decisions.sequential.hypotheses import Floats, bounds
from maestro.decisions.sequential.two_proportions import TwoProportions


class StepResult(Model):
    """What a step decided.

    `next_rung` is the index of the rung to be on after this step, None once the rollout has ended. A `promote` with `final`
    ends it: the challenger becomes champion; any other `promote` moves to the next rung.
    """

    verdict: Verdict
    reasons: tuple[dict[str, Any], ...]
    state: RolloutState
    next_rung: int | None
    final: bool = False


@dataclass(frozen=True)
class _Judged:
    test: MetricTest
    evidence: Evidence
    metric: MetricState

    def earned(self, rung: int, alpha: float) -> bool:
        """Data in both arms, and the difference below the rung's margin."""
        has_data = self.metric.champion[1] > 0 and self.metric.challenger[1] > 0
        return has_data and bool(self.test.earned(self.evidence, rung, alpha))


def step(policy: RolloutPolicy, state: RolloutState, look: Look) -> StepResult:
    """Decide after a look.

    Args:
        policy: the rules, the same as at the start.
        state: from `start` or from the step before.
        look: what was observed since the look before, on the rung `state.rung`.

    Raises:
        Conflict: the rollout has ended.
        BadInput: the state belongs to another policy.

    A champion without errors at 99 % of the traffic, a challenger that fails one request in ten at 1 %:

    >>> from maestro.decisions.rollout.state import start
    >>> policy = RolloutPolicy.model_validate({
    ...     "apiVersion": "maestro/v1", "kind": "RolloutPolicy", "metadata": {"name": "one"}, "alpha": 0.05,
    ...     "metrics": [{"name": "errors", "bad": "error", "margin": 0.02}],
    ...     "budget": {"requests": 200000, "duration": "1h"}})
    >>> state = start(policy)
    >>> for bad in (0, 1, 2):
    ...     look = Look.model_validate({
    ...         "counts": {"errors": {"champion": [0, 990], "challenger": [bad, 10]}},
    ...         "exposures": {"champion": 990, "challenger": 10}, "requests": 1000, "elapsed_ms": 5000})
    ...     result = step(policy, state, look)
    ...     state = result.state
    ...     print(result.verdict.value, result.reasons[0]["lower"], result.reasons[0]["counts"]["challenger"])
    keep_going -1.0 [0, 10]
    keep_going 0.0 [1, 20]
    roll_back 0.01414 [3, 30]
    """
    if state.ended is not None:
        raise Conflict(f"the rollout has ended: {state.ended}", remedy="start a new rollout", field="state.ended")
    if state.policy != policy.content_digest():
        raise BadInput(
            "the state belongs to another policy", remedy="use the policy it was started with", field="policy"
        )
    tests = metric_tests(policy)
    baking = state.rung == len(policy.rungs) - 1
    fault = fault_of(look, tests, baking)
    judged = [_judge(test, state, look, baking) for test in tests]
    ratio = _sample_ratio(policy, state, look, baking)
    state = _advance_clock(state, look, judged, ratio, counts=fault is None)
    frozen = freeze_of(policy, state, look, fault, baking)
    state = state.model_copy(update={"frozen": frozen})

    verdict = _verdict(policy, state, judged, baking)
    reasons = [_reason(policy, state, item, baking) for item in judged]
    if frozen is not None:
        reasons.append({"cause": frozen.cause, "detail": frozen.detail})
    if verdict is Verdict.UNDECIDED:
        reasons.append(_budget_reason(policy, state))
    return _conclude(policy, state, verdict, tuple(reasons), baking)


def _judge(test: MetricTest, state: RolloutState, look: Look, baking: bool) -> _Judged:
    metric = state.metrics[test.name]
    evidence = metric.evidence.unpack()
    totals, missing = look.totals(test.name), look.missing(test.name)
    lost = test.event == "wrong" and look.dropped != 0
    if not look.source_healthy or not totals.is_valid or not missing.is_valid or lost:
        return _Judged(test, evidence, metric)
    counts = np.array(totals.values, dtype=np.float64)
    if baking:
        if isinstance(evidence, TwoProportions) and test.name in state.limits:
            limit = np.array(state.limits[test.name])
            evidence = two_proportions.update_single(test.hypotheses, evidence, counts[2], counts[3], limit)
    elif test.event == "latency":
        for block in look.blocks.get(test.name, ()):
            evidence = test.update(evidence, np.array(block, dtype=np.float64))
    else:
        evidence = test.update(evidence, counts)
    packed = EvidenceState.pack(evidence)
    metric = metric.model_copy(
        update={
            "evidence": packed,
            "champion": _add(metric.champion, totals.champion),
            "challenger": _add(metric.challenger, totals.challenger),
            "missing": _missing(test, metric, np.array(missing.values, dtype=np.float64)),
        }
    )
    return _Judged(test, packed.unpack(), metric)


def _missing(test: MetricTest, metric: MetricState, counts: Floats) -> tuple[EvidenceState, EvidenceState] | None:
    if metric.missing is None:
        return None
    hypotheses = missing_hypotheses(test.tolerated)
    orders = ([0, 1, 2, 3], [2, 3, 0, 1])
    updated = []
    for packed, order in zip(metric.missing, orders, strict=True):
        evidence = packed.unpack()
        if isinstance(evidence, TwoProportions):
            evidence = two_proportions.update(hypotheses, evidence, counts[order])
        updated.append(EvidenceState.pack(evidence))
    return updated[0], updated[1]


def _sample_ratio(policy: RolloutPolicy, state: RolloutState, look: Look, baking: bool) -> SampleRatioState:
    champion, challenger = look.exposures.champion, look.exposures.challenger
    if baking or not look.source_healthy or min(champion, challenger) < 0 or look.dropped != 0:
        return state.sample_ratio
    share = policy.rungs[state.rung].weight / 100
    shares = (1 - share, share)
    before = state.sample_ratio.unpack(shares)
    return SampleRatioState.pack(sample_ratio.update(before, np.array([champion, challenger]), shares))


def _advance_clock(
    state: RolloutState, look: Look, judged: list[_Judged], ratio: SampleRatioState, *, counts: bool
) -> RolloutState:
    """Time on the rung counts only with data, so that no bake passes unobserved; the budget's clock never stops."""
    seen = [0, 0]
    for item in judged:
        before = state.metrics[item.test.name]
        seen[0] = max(seen[0], item.metric.champion[1] - before.champion[1])
        seen[1] = max(seen[1], item.metric.challenger[1] - before.challenger[1])
    return state.model_copy(
        update={
            "metrics": {item.test.name: item.metric for item in judged},
            "sample_ratio": ratio,
            "looks": state.looks + 1,
            "requests": state.requests + max(look.requests, 0),
            "elapsed_ms": state.elapsed_ms + max(look.elapsed_ms, 0),
            "rung_elapsed_ms": state.rung_elapsed_ms + (look.elapsed_ms if counts else 0),
            "rung_requests": (state.rung_requests[0] + seen[0], state.rung_requests[1] + seen[1]),
        }
    )


def _verdict(policy: RolloutPolicy, state: RolloutState, judged: list[_Judged], baking: bool) -> Verdict:
    frozen = state.frozen
    if frozen is not None and frozen.cause == "human":
        return Verdict.FREEZE
    if any(_harmed(policy, state, item) for item in judged):
        return Verdict.ROLL_BACK
    exhausted = state.requests >= policy.budget.requests or state.elapsed_ms >= _milliseconds(policy.budget.duration)
    if frozen is not None:
        return Verdict.UNDECIDED if exhausted and frozen.cause not in STICKY else Verdict.FREEZE
    if baking:
        bake = policy.rungs[-1].bake
        done = bake is None or state.rung_elapsed_ms >= _milliseconds(bake)
        if done and state.rung_requests[1] > 0:
            return Verdict.PROMOTE
    elif min(state.rung_requests) > 0 and all(item.earned(state.rung, policy.alpha) for item in judged):
        return Verdict.PROMOTE
    return Verdict.UNDECIDED if exhausted else Verdict.KEEP_GOING


def _harmed(policy: RolloutPolicy, state: RolloutState, item: _Judged) -> bool:
    # Where labels are missing at different rates per arm, what the labels say is no evidence.
    biased = state.frozen is not None and state.frozen.cause == "labels" and item.test.event == "wrong"
    return not biased and bool(item.test.harmed(item.evidence, policy.alpha / len(policy.metrics)))


def _conclude(
    policy: RolloutPolicy, state: RolloutState, verdict: Verdict, reasons: tuple[dict[str, Any], ...], baking: bool
) -> StepResult:
    weight = policy.rungs[state.rung].weight
    history = state.history if state.history[-1:] == ((weight, verdict),) else (*state.history, (weight, verdict))
    state = state.model_copy(update={"history": history})
    final = verdict is Verdict.PROMOTE and baking
    if final or verdict in {Verdict.ROLL_BACK, Verdict.UNDECIDED}:
        state = state.model_copy(update={"ended": verdict})
        return StepResult(verdict=verdict, reasons=reasons, state=state, next_rung=None, final=final)
    if verdict is Verdict.PROMOTE:
        state = _enter(policy, state, state.rung + 1)
    return StepResult(verdict=verdict, reasons=reasons, state=state, next_rung=state.rung)


def _enter(policy: RolloutPolicy, state: RolloutState, rung: int) -> RolloutState:
    limits: dict[str, float] = {}
    if rung == len(policy.rungs) - 1:
        limits = {
            metric.name: _limit(metric, state.metrics[metric.name])
            for metric in policy.metrics
            if metric.event == "error"
        }
    return state.model_copy(
        update={
            "rung": rung,
            "rung_requests": (0, 0),
            "rung_elapsed_ms": 0,
            "sample_ratio": SampleRatioState(),
            "limits": limits,
        }
    )


def _limit(metric: MetricPolicy, state: MetricState) -> float:
    """The rate the challenger alone may have in the bake: the champion's over the rollout, and the margin on top."""
    bad, total = state.champion
    return min(round((bad / total if total else 0.0) + metric.margin, 6), 0.999)


def _reason(policy: RolloutPolicy, state: RolloutState, item: _Judged, baking: bool) -> dict[str, Any]:
    alpha = policy.alpha
    lower, upper = bounds(item.test.hypotheses, item.evidence.peak, alpha / len(policy.metrics), alpha)
    rung = policy.rungs[min(state.rung, max(0, len(policy.rungs) - 2))]
    reason = {
        "metric": item.test.name,
        "lower": float(lower),
        "upper": float(upper),
        "margin": round(item.test.margin * rung.margin_factor, 12),
        "tolerate": item.test.tolerated,
        "counts": {"champion": list(item.metric.champion), "challenger": list(item.metric.challenger)},
    }
    if baking and item.test.name in state.limits:
        reason["limit"] = state.limits[item.test.name]
    if state.rung < len(state.predicted) and item.test.name in state.predicted[state.rung]:
        reason["predicted"] = state.predicted[state.rung][item.test.name]
    # said outright: a printed bound is rounded outward and may stand at what is tolerated
    if _harmed(policy, state, item):
        reason["verdict"] = Verdict.ROLL_BACK.value
    return reason


def _budget_reason(policy: RolloutPolicy, state: RolloutState) -> dict[str, Any]:
    return {
        "cause": "budget",
        "requests": [state.requests, policy.budget.requests],
        "elapsed_ms": [state.elapsed_ms, _milliseconds(policy.budget.duration)],
    }


def _add(total: tuple[int, int], more: tuple[int, int]) -> tuple[int, int]:
    return total[0] + more[0], total[1] + more[1]


def _milliseconds(value: timedelta) -> int:
    return round(value.total_seconds() * 1000)
