"""The rollout controller: starts, follows, resumes and ends rollouts. One acts on a rollout at a time, and any may go on."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from threading import Event

from maestro.clients.database.outbox import append_event
from maestro.core.clock import Clock
from maestro.core.decision import Verdict
from maestro.core.errors import BadInput, Conflict, Fenced, MaestroError, Refused
from maestro.core.graph import ModelNode
from maestro.core.metric_names import LATENCY_BUCKETS
from maestro.core.policy import RolloutPolicy
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.seams import TrafficTarget
from maestro.decisions.rollout import Prediction, TrafficRates, predict, release, start
from maestro.decisions.rollout.state import RolloutState
from maestro.governance.approval.approvals import Approvals
from maestro.governance.decisions.store import DecisionStore
from maestro.governance.production import production_node
from maestro.governance.rollouts.graphs import Arms
from maestro.governance.rollouts.status import RolloutStatus, Step
from maestro.governance.rollouts.store import Memory, Rollout, RolloutStore
from maestro.governance.rollouts.strategies import strategy
from maestro.governance.rollouts.transitions import Transitions
from maestro.governance.rollouts.verdicts import HUMAN
from maestro.governance.versions.store import ModelVersion, VersionStore
from maestro.security.audit import AuditLog

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Seconds from look to look."""

SLOWEST_S = 8.0
"""Seconds between looks at a source, or attempts at a target, that has been silent for long."""

Rates = Mapping[str, float | tuple[float, float]]


class RolloutController:
    """What doors call. Thread-safe."""

    def __init__(
        self,
        store: RolloutStore,
        decisions: DecisionStore,
        versions: VersionStore,
        approvals: Approvals,
        transitions: Transitions,
        clock: Clock,
        audit: AuditLog,
        targets: Callable[[str], TrafficTarget],
    ) -> None:
        self.store = store
        self._decisions = decisions
        self._versions = versions
        self._approvals = approvals
        self._transitions = transitions
        self._clock = clock
        self._audit = audit
        self._targets = targets

    def start(
        self,
        principal: Principal,
        version: ModelVersion,
        policy: RolloutPolicy,
        strategy_name: str | None = None,
        *,
        rates: Rates | None = None,
        traffic: TrafficRates | None = None,
    ) -> Rollout:
        """Check the gates and begin; the work is done by whoever leads the rollout.

        Args:
            principal: who orders it.
            version: the challenger.
            policy: its rules; the approvals must be for this very policy.
            strategy_name: `canary` when there is a champion, else `first`.
            rates: named alternative for the predicted sample.
            traffic: the traffic that the prediction assumes.

        Raises:
            Refused: a gate does not pass; each reason is given.
            Conflict: another rollout of the model runs, or the strategy does not fit what is served.
            BadInput: the strategy is not known, or a latency bound of the policy is no bucket bound.
        """
        principal.require(PrincipalRole.OPERATOR)
        champion = self._champion(version.model)
        moves = strategy(strategy_name or ("canary" if champion is not None else "first"))
        self._check_plan(moves.name, moves.needs_champion, champion, version)
        check_policy(policy)
        moves.weights(policy)  # refuses a policy that the strategy cannot follow
        report, record, references = self._approvals.gate(version, policy, actor=principal.actor)
        if report.verdict is not Verdict.PASS:
            failed = "; ".join(f"{result.gate}: {result.reason}" for result in report.results if not result.passed)
            subject = f"model/{version.key}"
            self._audit.record(
                actor=principal.actor,
                action="rollout.start",
                subject=subject,
                outcome="refused",
                data={"reason": failed},
            )
            raise Refused(
                f"{version.key} may not be rolled out: {failed}",
                remedy="submit it with this policy and have it approved: maestro approval submit",
                decision=record.id,
            )
        predicted = plan(policy, rates, traffic, rollouts=200).by_rung() if rates and traffic else ()
        with self.store.database.begin() as connection:
            policy_digest = self._decisions.put_policy(connection, policy)  # serialises starts
            running = self.store.running(connection, version.model)
            if running is not None:
                raise _in_progress(running)
            rollout = Rollout(
                id=f"ro-{uuid.uuid4().hex[:12]}",
                model=version.model,
                champion=champion.version if champion is not None else None,
                challenger=version.version,
                strategy=moves.name,
                policy_digest=policy_digest,
                status=RolloutStatus.RUNNING,
                step=Step.AUTHORISE,
                state=Memory(
                    arms=Arms(
                        model=version.model,
                        number=self.store.count(connection, version.model) + 1,
                        champion=champion.version if champion is not None else None,
                        champion_digest=champion.digest if champion is not None else None,
                        challenger=version.version,
                        challenger_digest=version.digest,
                    ),
                    gate=record.id,
                    approvals=references,
                    start=start(policy, predicted=predicted).document() if moves.judged else None,
                ),
                started_by=principal.actor,
                created_at=self._clock.now(),
            )
            self.store.insert(connection, rollout)
            data = {
                "rollout": rollout.id,
                "strategy": moves.name,
                "policy": policy_digest,
                "gate": record.id,
                "from": rollout.champion,
                "to": rollout.challenger,
            }
            append_event(
                connection,
                kind="rollout.started",
                subject=rollout.subject,
                actor=principal.actor,
                data=data,
                at=rollout.created_at,
            )
            self._audit.append(
                connection, actor=principal.actor, action="rollout.started", subject=rollout.subject, data=data
            )
        return rollout

    def run(self, rollout_id: str, stop: Event) -> Rollout | None:
        """Lead a rollout until it ends, a person must decide, or `stop` is set.

        Returns:
            The rollout as it was left; None when another controller leads it.
        """
        fence = self.store.acquire(rollout_id)
        if fence is None:
            return None
        rollout = self.store.get(rollout_id)
        try:
            while rollout.step is not Step.DONE and not rollout.state.held and not stop.is_set():
                began = self._clock.monotonic()
                rollout = self._transitions.advance(rollout, fence)
                pause = _pause(rollout) - (self._clock.monotonic() - began)
                if pause > 0 and not stop.is_set():
                    self._clock.sleep(pause)
        except Fenced:
            log.info("rollout %s goes on elsewhere", rollout_id)
            return None
        finally:
            try:
                self.store.let_go(rollout_id, fence)
            except MaestroError:
                log.warning("the lease of rollout %s was not given back; it ends by itself", rollout_id)
        return rollout

    def abort(self, principal: Principal, rollout_id: str, reason: str = "") -> Rollout:
        """Go back to the champion on a person's word.

        Raises:
            Conflict: it has ended.
        """
        principal.require(PrincipalRole.OPERATOR)
        rollout = self._unfinished(rollout_id)
        with self.store.database.begin() as connection:
            fence = self.store.take_over(connection, rollout.id)
            decided = self._decisions.record(
                connection,
                kind=HUMAN,
                subject=self._versions.get(rollout.model, rollout.challenger).subject,
                inputs={"decided": "abort", "rollout": rollout.id},
                verdict=Verdict.ROLL_BACK,
                actor=principal.actor,
                policy=rollout.policy_digest,
                reasons=({"cause": "human", "detail": reason},),
                rollout_id=rollout.id,
                event="rollout.moved",
                data={"from": rollout.weight, "to": 0.0, "rollout": rollout.id},
            )
            ended = self._transitions.end(
                rollout.model_copy(update={"last_decision": decided.id}),
                RolloutStatus.ROLLED_BACK,
                reason or f"aborted by {principal.actor}",
            )
            self._transitions.save_ending(connection, ended, fence)
        self.store.let_go(rollout.id, fence)
        return ended

    def resume(self, principal: Principal, rollout_id: str) -> Rollout:
        """Lift a freeze on a person's word: the rung's graph is written again, evidence on the metrics stays.

        Raises:
            Conflict: it is not frozen.
        """
        principal.require(PrincipalRole.OPERATOR)
        rollout = self._unfinished(rollout_id)
        if rollout.status is not RolloutStatus.FROZEN:
            raise Conflict(f"rollout {rollout_id} is {rollout.status.value}, not frozen", field="id", remedy="nothing")
        policy = self._decisions.policy(rollout.policy_digest)
        memory = rollout.state.model_copy(update={"held": False, "reason": ""})
        if memory.last_look is not None:
            state = RolloutState.model_validate(self._decisions.get(memory.last_look).state)
            memory = memory.model_copy(update={"start": release(state).document(), "last_look": None})
        with self.store.database.begin() as connection:
            fence = self.store.take_over(connection, rollout.id)
            decided = self._decisions.record(
                connection,
                kind=HUMAN,
                subject=self._versions.get(rollout.model, rollout.challenger).subject,
                inputs={"decided": "resume", "rollout": rollout.id},
                verdict=Verdict.KEEP_GOING,
                actor=principal.actor,
                policy=rollout.policy_digest,
                rollout_id=rollout.id,
                event="rollout.resumed",
                data={"from": rollout.weight, "to": rollout.weight, "rollout": rollout.id},
            )
            freed = rollout.model_copy(update={"state": memory, "last_decision": decided.id})
            if rollout.step in {Step.PLACE, Step.READY, Step.WATCH}:
                freed = self._transitions.place(freed, policy, rollout.rung)
            else:
                freed = self._transitions.again(freed)
            self.store.save(connection, freed, fence)
        self.store.let_go(rollout.id, fence)
        return freed

    def _champion(self, model: str) -> ModelNode | None:
        graph = self._targets(model).read()
        if graph is None:
            return None
        node = production_node(graph)
        if node is None:
            raise Conflict(
                f"the graph of {model} has no one version in production",
                field="model",
                remedy="edit the graph by hand, or put one version behind its root first",
            )
        return node

    def _check_plan(self, name: str, needs_champion: bool, champion: ModelNode | None, version: ModelVersion) -> None:
        with self.store.database.read() as connection:
            running = self.store.running(connection, version.model)
        if running is not None:
            raise _in_progress(running)
        if champion is None:
            if needs_champion:
                raise Conflict(
                    f"{version.model} serves no version that {name} could compare with",
                    field="strategy",
                    remedy="roll out its first version with --strategy first",
                )
            return
        if not needs_champion:
            raise Conflict(
                f"{version.model} serves {champion.version} already",
                field="strategy",
                remedy="choose canary or blue_green",
            )
        if champion.version == version.version:
            raise Conflict(f"{version.key} is in production", field="version", remedy="choose another version")
        served = self._versions.get(version.model, champion.version)
        if served.contract.breaks(version.contract):
            raise Conflict(
                f"callers of {served.key} would break under {version.key}: features, order, output or entity keys differ",
                field="version",
                remedy="register it as a model of its own, and move its callers",
            )

    def _unfinished(self, rollout_id: str) -> Rollout:
        rollout = self.store.get(rollout_id)
        if rollout.status.is_final:
            raise Conflict(
                f"rollout {rollout_id} has ended: {rollout.status.value}", field="id", remedy="start a new one"
            )
        return rollout


def plan(policy: RolloutPolicy, rates: Rates, traffic: TrafficRates, *, rollouts: int = 400) -> Prediction:
    """What a rollout under a policy is predicted to need, under a named alternative.

    Raises:
        BadInput: more traffic or more looks than a simulation can be asked for.
    """
    check_policy(policy)
    for field, value, most in (
        ("traffic.requests_per_s", traffic.requests_per_s, 1e6),
        ("traffic.labelled_per_s", traffic.labelled_per_s or 0.0, 1e6),
        ("traffic.look_s", traffic.look_s, 3600),
        ("traffic.max_looks", traffic.max_looks, 3000),
    ):
        if value > most:
            raise BadInput(f"{field} is {value:g}", field=field, remedy=f"give at most {most:g}")
    return predict(policy, rates, traffic, rollouts=rollouts)


def check_policy(policy: RolloutPolicy) -> None:
    """Refuse what no metric source can measure.

    Raises:
        BadInput: a latency bound is no bucket bound; it is named.
    """
    for index, metric in enumerate(policy.metrics):
        if metric.event == "latency" and metric.latency_bound not in LATENCY_BUCKETS:
            known = ", ".join(f"{bound:g}s" for bound in LATENCY_BUCKETS)
            raise BadInput(
                f"metric {metric.name}: latency is not counted at {metric.bad}",
                field=f"metrics.{index}.bad",
                remedy=f"choose one of {known}",
            )


def _pause(rollout: Rollout) -> float:
    failures = rollout.state.failures
    if rollout.status is RolloutStatus.FROZEN and rollout.state.reason.startswith(("sample_ratio", "labels")):
        return SLOWEST_S  # only a person lifts it; what is still looked for is harm
    if rollout.step is Step.WATCH or failures:
        return LOOK_S if failures < 10 else min(SLOWEST_S, LOOK_S * 2 ** (failures - 9))
    return 0.0


def _in_progress(running: Rollout) -> Conflict:
    return Conflict(
        f"rollout {running.id} of {running.model}@{running.challenger} is {running.status.value}",
        field="model",
        remedy=f"wait for it, or end it: maestro deploy abort {running.id}",
        rollout=running.id,
    )
