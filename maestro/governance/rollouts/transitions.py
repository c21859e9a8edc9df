"""The steps of a rollout. Each is idempotent: it finds out what was done before it was killed, does the rest, and names the next step.

Order of a promotion: decision, statement, graph, alias. Nothing reads the alias to route; it is the last and the least.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from maestro.clients.database.outbox import append_event
from maestro.core.clock import Clock
from maestro.core.decision import DecisionRecord, Subject, Verdict
from maestro.core.errors import Conflict, Refused, Unreachable
from maestro.core.graph import InferenceGraph
from maestro.core.policy import RolloutPolicy
from maestro.core.seams import MetricSource, TrafficTarget
from maestro.governance.decisions.store import DecisionStore
from maestro.governance.rollouts.graphs import same_content, single_graph
from maestro.governance.rollouts.judging import Judge
from maestro.governance.rollouts.statements import Statements
from maestro.governance.rollouts.status import RolloutStatus, Step
from maestro.governance.rollouts.store import Rollout, RolloutStore
from maestro.governance.rollouts.strategies import strategy
from maestro.governance.rollouts.verdicts import HUMAN, READINESS, foreign_edit, readiness_verdict
from maestro.governance.versions.stages import Stages
from maestro.governance.versions.store import Stage, VersionStore
from maestro.security.audit import AuditLog

READY_TIMEOUT_S = 8.0
READY_ATTEMPTS = 40
"""A target that answers nothing for `READY_ATTEMPTS` waits is given up, and the champion restored."""

CONTROLLER = "system:controller"


class Transitions:
    """What each step does. Only the holder of a lease may call it."""

    def __init__(
        self,
        store: RolloutStore,
        decisions: DecisionStore,
        versions: VersionStore,
        stages: Stages,
        statements: Statements,
        clock: Clock,
        audit: AuditLog,
        targets: Callable[[str], TrafficTarget],
        sources: Callable[[str], MetricSource],
    ) -> None:
        self._store = store
        self._decisions = decisions
        self._versions = versions
        self._stages = stages
        self._statements = statements
        self._clock = clock
        self._audit = audit
        self._targets = targets
        self._judge = Judge(decisions, clock, sources)

    def advance(self, rollout: Rollout, fence: int) -> Rollout:
        """Do the step that the row names.

        Raises:
            Fenced: another controller has taken over.
            Unreachable: the database does not answer.
        """
        if rollout.state.held or rollout.step is Step.DONE:
            return rollout
        policy = self._decisions.policy(rollout.policy_digest)
        match rollout.step:
            case Step.AUTHORISE:
                return self._authorise(rollout, fence, policy)
            case Step.PLACE | Step.FINALISE | Step.RESTORE:
                return self._write_graph(rollout, fence)
            case Step.READY | Step.FINAL_READY:
                return self._wait_ready(rollout, fence, policy)
            case Step.WATCH:
                return self._watch(rollout, fence, policy)
            case Step.STATE_PROMOTION:
                return self._state_promotion(rollout, fence)
            case Step.RECORD_PROMOTION:
                return self._record_promotion(rollout, fence)
            case Step.RESTORED:
                return self._restored(rollout, fence)

    def hold(self, rollout: Rollout, fence: int, found: InferenceGraph | None) -> Rollout:
        """A person changed the graph: it is honoured, recorded, and nothing moves until a person says so."""
        memory = rollout.state.model_copy(update={"held": True, "reason": "a person changed the graph"})
        held = rollout.model_copy(update={"status": RolloutStatus.FROZEN, "state": memory})
        with self._store.database.begin() as connection:
            record = self._decisions.record(
                connection,
                kind=HUMAN,
                subject=self._subject(rollout),
                inputs=foreign_edit(found, rollout.graph_revision),
                verdict=Verdict.FREEZE,
                actor="human",
                policy=rollout.policy_digest,
                reasons=({"cause": "human", "detail": memory.reason},),
                rollout_id=rollout.id,
                event="graph.foreign",
                data={"graph": None if found is None else found.content_digest()},
            )
            held = held.model_copy(update={"last_decision": record.id})
            self._tell_move(connection, rollout, held, record)
            self._store.save(connection, held, fence)
        if rollout.step is Step.WATCH and memory.start is not None:
            policy = self._decisions.policy(rollout.policy_digest)
            with self._store.database.begin() as connection:
                held = self._judge.record_human_edit(connection, held, policy)
                self._store.save(connection, held, fence)
        return held

    def end(self, rollout: Rollout, outcome: RolloutStatus, reason: str) -> Rollout:
        """On the way back to the champion; the caller saves it."""
        memory = rollout.state.model_copy(
            update={"outcome": outcome, "reason": reason, "held": False, "failures": 0, "base": None}
        )
        if rollout.champion is None:
            return self._finished(rollout.model_copy(update={"state": memory}), outcome)
        return self._intend(rollout.model_copy(update={"state": memory}), Step.RESTORE)

    def save_ending(self, connection: Connection, rollout: Rollout, fence: int) -> None:
        """Write the row; tell of its end when this is it."""
        if rollout.step is Step.DONE:
            self._finish_event(connection, rollout)
        self._store.save(connection, rollout, fence)

    def place(self, rollout: Rollout, policy: RolloutPolicy, rung: int) -> Rollout:
        """On the way to a rung; the caller saves it."""
        weight = strategy(rollout.strategy).weights(policy)[rung]
        moved = rollout.model_copy(
            update={
                "rung": rung,
                "weight": weight,
                "status": RolloutStatus.RUNNING,
                "state": rollout.state.model_copy(update={"base": None, "held": False, "failures": 0}),
            }
        )
        return self._intend(moved, Step.PLACE, policy)

    def again(self, rollout: Rollout) -> Rollout:
        """The present step again, from the graph as it stands now; the caller saves it."""
        freed = rollout.model_copy(update={"status": RolloutStatus.RUNNING})
        if rollout.step in {Step.FINALISE, Step.RESTORE}:
            return self._intend(freed, rollout.step)
        return freed

    def _authorise(self, rollout: Rollout, fence: int, policy: RolloutPolicy) -> Rollout:
        plan = strategy(rollout.strategy)
        if not plan.weights(policy):
            return self._switch(rollout, fence, ready=True, detail="nothing is served yet")
        self._statements.authorise(rollout, policy, self._clock.now())
        return self._save(self.place(rollout, policy, 0), fence)

    def _write_graph(self, rollout: Rollout, fence: int) -> Rollout:
        wanted = InferenceGraph.model_validate(rollout.state.graph)
        target = self._targets(rollout.model)
        self._store.renew(rollout.id, fence)
        try:
            current = target.read()
            if current is None or not same_content(current, wanted):
                target.write(wanted, expected_revision=rollout.state.expected_revision)
        except Conflict:
            return self.hold(rollout, fence, target.read())
        except Refused as error:
            return self._refused(rollout, fence, error.detail)
        except Unreachable as error:
            return self._again(rollout, fence, error.detail)
        following = {Step.PLACE: Step.READY, Step.FINALISE: Step.FINAL_READY, Step.RESTORE: Step.RESTORED}
        written = rollout.model_copy(
            update={
                "step": following[rollout.step],
                "graph_revision": wanted.metadata.revision,
                "state": rollout.state.model_copy(update={"failures": 0}),
            }
        )
        with self._store.database.begin() as connection:
            graph_written(connection, wanted, CONTROLLER, self._clock)
            self._store.save(connection, written, fence)
        return written

    def _wait_ready(self, rollout: Rollout, fence: int, policy: RolloutPolicy) -> Rollout:
        self._store.renew(rollout.id, fence)
        try:
            self._targets(rollout.model).wait_ready(rollout.graph_revision or 0, READY_TIMEOUT_S)
        except Refused as error:
            return self._refused(rollout, fence, error.detail)
        except Unreachable as error:
            if rollout.state.failures >= READY_ATTEMPTS:
                return self._refused(rollout, fence, error.detail)
            return self._again(rollout, fence, error.detail)
        ready = rollout.model_copy(update={"state": rollout.state.model_copy(update={"failures": 0, "reason": ""})})
        if rollout.step is Step.FINAL_READY:
            return self._promoted(ready, fence)
        if strategy(rollout.strategy).judged:
            return self._save(ready.model_copy(update={"step": Step.WATCH}), fence)
        return self._switch(ready, fence, ready=True, detail="loaded and warm beside the champion")

    def _watch(self, rollout: Rollout, fence: int, policy: RolloutPolicy) -> Rollout:
        target = self._targets(rollout.model)
        try:
            graph = target.read()
        except Unreachable:
            graph = InferenceGraph.model_validate(
                rollout.state.graph
            )  # the look below finds the source gone, and freezes
        ours = InferenceGraph.model_validate(rollout.state.graph)
        if graph is None or not same_content(graph, ours):
            return self.hold(rollout, fence, graph)
        observed = self._judge.observe(rollout, policy)
        if observed.look is None:
            return self._save(observed.rollout, fence)
        with self._store.database.begin() as connection:
            judged, result = self._judge.decide(connection, observed.rollout, policy, observed.look)
            if result.verdict is Verdict.PROMOTE and result.final:
                memory = judged.state.model_copy(update={"promotion": judged.last_decision})
                judged = judged.model_copy(update={"step": Step.STATE_PROMOTION, "state": memory})
            elif result.verdict is Verdict.PROMOTE and result.next_rung is not None:
                judged = self.place(judged, policy, result.next_rung)
            elif result.verdict in {Verdict.ROLL_BACK, Verdict.UNDECIDED}:
                outcome = RolloutStatus("rolled_back" if result.verdict is Verdict.ROLL_BACK else "undecided_at_budget")
                judged = self.end(judged, outcome, _why(result.reasons))
            self._store.save(connection, judged, fence)
        return judged

    def _switch(self, rollout: Rollout, fence: int, *, ready: bool, detail: str) -> Rollout:
        inputs = {"ready": ready, "gate": rollout.state.gate, "strategy": rollout.strategy}
        verdict = readiness_verdict(inputs)
        with self._store.database.begin() as connection:
            record = self._decisions.record(
                connection,
                kind=READINESS,
                subject=self._subject(rollout),
                inputs=inputs,
                verdict=verdict,
                actor=CONTROLLER,
                policy=rollout.policy_digest,
                reasons=({"cause": "readiness", "detail": detail},),
                rollout_id=rollout.id,
                event="rollout.moved",
                data={"from": rollout.weight, "to": 100.0 if ready else 0.0, "rollout": rollout.id},
            )
            moved = rollout.model_copy(update={"last_decision": record.id})
            if verdict is Verdict.PROMOTE:
                memory = moved.state.model_copy(update={"promotion": record.id})
                moved = moved.model_copy(update={"step": Step.STATE_PROMOTION, "state": memory})
            else:
                moved = self.end(moved, RolloutStatus.ROLLED_BACK, detail)
            self.save_ending(connection, moved, fence)
        return moved

    def _refused(self, rollout: Rollout, fence: int, detail: str) -> Rollout:
        if rollout.step in {Step.RESTORE, Step.RESTORED}:
            # the champion itself is refused: nothing that a controller may do is left
            memory = rollout.state.model_copy(update={"reason": detail})
            failed = self._finished(rollout.model_copy(update={"state": memory}), RolloutStatus.FAILED)
            with self._store.database.begin() as connection:
                self.save_ending(connection, failed, fence)
            return failed
        return self._switch(rollout, fence, ready=False, detail=detail)

    def _state_promotion(self, rollout: Rollout, fence: int) -> Rollout:
        decision = rollout.state.promotion or rollout.last_decision or ""
        self._statements.promote(rollout, decision, self._clock.now())
        return self._save(self._intend(rollout, Step.FINALISE), fence)

    def _promoted(self, rollout: Rollout, fence: int) -> Rollout:
        """All traffic is the challenger's and it answers: the outcome stands, whatever becomes of the records after it."""
        version = self._versions.get(rollout.model, rollout.challenger)
        promoted = rollout.model_copy(
            update={
                "step": Step.RECORD_PROMOTION,
                "status": RolloutStatus.PROMOTED,
                "weight": 100.0,
                "finished_at": self._clock.now(),
                "state": rollout.state.model_copy(update={"outcome": RolloutStatus.PROMOTED}),
            }
        )
        with self._store.database.begin() as connection:
            self._finish_event(connection, promoted)
            self._stages.record(connection, version, Stage.PRODUCTION, actor=CONTROLLER)
            self._store.save(connection, promoted, fence)
        return promoted

    def _record_promotion(self, rollout: Rollout, fence: int) -> Rollout:
        self._store.renew(rollout.id, fence)
        try:
            self._stages.set_aliases(self._versions.get(rollout.model, rollout.challenger), Stage.PRODUCTION)
        except Unreachable as error:
            return self._again(rollout, fence, error.detail)
        return self._save(rollout.model_copy(update={"step": Step.DONE}), fence)

    def _restored(self, rollout: Rollout, fence: int) -> Rollout:
        self._store.renew(rollout.id, fence)
        try:
            self._targets(rollout.model).wait_ready(rollout.graph_revision or 0, READY_TIMEOUT_S)
        except Refused as error:
            return self._refused(rollout, fence, error.detail)
        except Unreachable as error:
            if rollout.state.failures < READY_ATTEMPTS:
                return self._again(rollout, fence, error.detail)
        finished = self._finished(rollout, rollout.state.outcome or RolloutStatus.ROLLED_BACK)
        with self._store.database.begin() as connection:
            self.save_ending(connection, finished, fence)
        return finished

    def _intend(self, rollout: Rollout, step: Step, policy: RolloutPolicy | None = None) -> Rollout:
        """The row names the graph before it is written, so that whoever resumes writes the same one."""
        current = self._targets(rollout.model).read()
        expected = None if current is None else current.metadata.revision
        revision = 1 if expected is None else expected + 1
        arms = rollout.state.arms
        if step is Step.PLACE and policy is not None:
            graph = strategy(rollout.strategy).graph(arms, policy, rollout.rung, revision)
        else:
            node = arms.challenger_model() if step is Step.FINALISE else arms.champion_model()
            graph = single_graph(node, revision)
        memory = rollout.state.model_copy(
            update={"graph": graph.document(), "expected_revision": expected, "failures": 0}
        )
        return rollout.model_copy(update={"step": step, "state": memory})

    def _again(self, rollout: Rollout, fence: int, reason: str) -> Rollout:
        memory = rollout.state.model_copy(update={"failures": rollout.state.failures + 1, "reason": reason})
        return self._save(rollout.model_copy(update={"state": memory}), fence)

    def _finished(self, rollout: Rollout, status: RolloutStatus) -> Rollout:
        weight = 100.0 if status is RolloutStatus.PROMOTED else 0.0
        return rollout.model_copy(
            update={"step": Step.DONE, "status": status, "weight": weight, "finished_at": self._clock.now()}
        )

    def _finish_event(self, connection: Connection, rollout: Rollout) -> None:
        append_event(
            connection,
            kind="rollout.finished",
            subject=rollout.subject,
            actor=CONTROLLER,
            data={
                "rollout": rollout.id,
                "verdict": rollout.status.value,
                "from": rollout.champion,
                "to": rollout.challenger if rollout.status is RolloutStatus.PROMOTED else rollout.champion,
                "decision": rollout.last_decision,
                "reason": rollout.state.reason,
                "revision": rollout.graph_revision,
                "environment": "production",
                "strategy": rollout.strategy,
            },
            at=self._clock.now(),
        )

    def _tell_move(self, connection: Connection, before: Rollout, after: Rollout, record: DecisionRecord) -> None:
        append_event(
            connection,
            kind="rollout.frozen",
            subject=after.subject,
            actor="human",
            data={"from": before.weight, "to": after.weight, "verdict": record.verdict.value, "decision": record.id},
            at=self._clock.now(),
        )

    def _save(self, rollout: Rollout, fence: int) -> Rollout:
        with self._store.database.begin() as connection:
            self._store.save(connection, rollout, fence)
        return rollout

    def _subject(self, rollout: Rollout) -> Subject:
        arms = rollout.state.arms
        return Subject(model=arms.model, version=arms.challenger, digest=arms.challenger_digest)


def graph_written(connection: Connection, graph: InferenceGraph, actor: str, clock: Clock) -> None:
    """Note which graph we wrote, so that any other is known to be foreign."""
    append_event(
        connection,
        kind="graph.written",
        subject=f"graph/{graph.metadata.name}",
        actor=actor,
        data={"revision": graph.metadata.revision, "digest": graph.content_digest()},
        at=clock.now(),
    )


def _why(reasons: tuple[dict[str, Any], ...]) -> str:
    """The reason that people read: the metric that is shown to be worse than tolerated, or the cause."""
    for reason in reasons:
        if reason.get("verdict") == Verdict.ROLL_BACK:
            counts = reason["counts"]["challenger"]
            return (
                f"{reason['metric']}: the challenger's rate is higher by at least {reason['lower']:.4g}, "
                f"tolerated {reason['tolerate']:.4g}, after {counts[1]} of its events ({counts[0]} bad)"
            )
    return next((str(reason.get("detail") or reason.get("cause")) for reason in reasons if "cause" in reason), "")
