"""A look at a rollout: read the source, take the difference, let `maestro.decisions.rollout` decide, record it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from maestro.core.clock import Clock
from maestro.core.decision import DecisionRecord, Subject, Verdict
from maestro.core.errors import MaestroError
from maestro.core.model import Time
from maestro.core.policy import RolloutPolicy
from maestro.core.seams import MetricSource
from maestro.decisions.rollout import Look, RolloutState, StepResult, make_record
from maestro.governance.decisions.code import code_identity
from maestro.governance.decisions.cost import version_cost
from maestro.governance.decisions.store import DecisionStore
from maestro.governance.rollouts.looks import ArmNames, difference, unhealthy
from maestro.governance.rollouts.status import RolloutStatus
from maestro.governance.rollouts.store import Rollout

ACTOR = "system:controller"


@dataclass(frozen=True)
class Observed:
    """A rollout after a reading; no look when the reading only begins a rung, or is the one that was judged before."""

    rollout: Rollout
    look: Look | None


class Judge:
    """Turns readings into recorded decisions."""

    def __init__(self, decisions: DecisionStore, clock: Clock, sources: Callable[[str], MetricSource]) -> None:
        self._decisions = decisions
        self._clock = clock
        self._sources = sources

    def observe(self, rollout: Rollout, policy: RolloutPolicy) -> Observed:
        """Read the source once. The first reading of a rung is what the next are compared with."""
        memory, now = rollout.state, self._clock.now()
        elapsed = _milliseconds(memory.looked_at, now)
        try:
            reading = self._sources(rollout.model).read(rollout.model, label_wait_s(policy))
        except MaestroError:
            reading = None
        if reading is None or reading.revision != rollout.graph_revision:
            memory = memory.model_copy(update={"looked_at": now, "failures": memory.failures + 1})
            return Observed(rollout.model_copy(update={"state": memory}), unhealthy(elapsed))
        if memory.base is not None and (reading.at, reading.arms) == (memory.base.at, memory.base.arms):
            # the source has not looked again since, as Prometheus between two scrapes: that is no lack of requests
            return Observed(rollout, None)
        core_ms = round(elapsed * rollout.weight / 100)
        following = memory.model_copy(
            update={
                "looked_at": now,
                "base": reading,
                "failures": 0,
                "challenger_core_ms": memory.challenger_core_ms + core_ms,
            }
        )
        observed = rollout.model_copy(update={"state": following})
        if memory.base is None:
            return Observed(observed, None)
        names = ArmNames(champion=memory.arms.champion_node, challenger=memory.arms.challenger_node)
        look = difference(policy, names, memory.base, reading)
        if not look.source_healthy:
            # what cannot be compared now is compared from here on
            return Observed(observed, unhealthy(elapsed))
        return Observed(observed, look.model_copy(update={"elapsed_ms": elapsed}))

    def decide(
        self, connection: Connection, rollout: Rollout, policy: RolloutPolicy, look: Look
    ) -> tuple[Rollout, StepResult]:
        """Decide on a look and record it, in the caller's transaction."""
        prior = self._prior(rollout)
        results: list[StepResult] = []
        arms = rollout.state.arms
        subject = Subject(model=arms.model, version=arms.challenger, digest=arms.challenger_digest)

        def build(prev: str | None, at: datetime) -> DecisionRecord:
            record, result = make_record(
                policy,
                prior,
                look,
                at=at,
                subject=subject,
                code=code_identity(),
                actor=ACTOR,
                cost_usd_micros=version_cost(connection, arms.model, arms.challenger),
                prev=prev,
            )
            results.append(result)
            return record

        def describe(record: DecisionRecord) -> tuple[str, dict[str, Any]]:
            return _event(rollout, policy, results[-1])

        record = self._decisions.append(connection, build, rollout_id=rollout.id, describe=describe)
        result = results.pop()
        memory = rollout.state.model_copy(update={"last_look": record.id, "reason": _freeze_reason(result)})
        frozen = result.verdict is Verdict.FREEZE
        return rollout.model_copy(
            update={
                "status": RolloutStatus.FROZEN if frozen else RolloutStatus.RUNNING,
                "last_decision": record.id,
                "state": memory,
            }
        ), result

    def record_human_edit(self, connection: Connection, rollout: Rollout, policy: RolloutPolicy) -> Rollout:
        """The step that freezes a rollout whose graph a person changed."""
        look = Look(human_edit=True, elapsed_ms=_milliseconds(rollout.state.looked_at, self._clock.now()))
        return self.decide(connection, rollout, policy, look)[0]

    def _prior(self, rollout: Rollout) -> DecisionRecord | RolloutState:
        if rollout.state.last_look is not None:
            return self._decisions.get(rollout.state.last_look)
        return RolloutState.model_validate(rollout.state.start)


def label_wait_s(policy: RolloutPolicy) -> float:
    """The longest wait for labels that a metric of the policy names, in seconds."""
    return max((m.label_wait.total_seconds() for m in policy.metrics if m.label_wait is not None), default=0.0)


def _event(rollout: Rollout, policy: RolloutPolicy, result: StepResult) -> tuple[str, dict[str, Any]]:
    weights = [rung.weight for rung in policy.rungs]
    after: float = rollout.weight
    if result.final:
        after = 100.0
    elif result.verdict is Verdict.PROMOTE and result.next_rung is not None:
        after = weights[result.next_rung]
    elif result.verdict in {Verdict.ROLL_BACK, Verdict.UNDECIDED}:
        after = 0.0
    kind = "rollout.moved" if after != rollout.weight or result.final else "rollout.judged"
    return kind, {"from": rollout.weight, "to": after, "rollout": rollout.id}


def _freeze_reason(result: StepResult) -> str:
    if result.verdict is not Verdict.FREEZE or result.state.frozen is None:
        return ""
    return f"{result.state.frozen.cause}: {result.state.frozen.detail}"


def _milliseconds(since: Time | None, now: datetime) -> int:
    return 0 if since is None else max(0, round((now - since).total_seconds() * 1000))
