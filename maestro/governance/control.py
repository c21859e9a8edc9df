"""Governance put together: which stores, keys, targets and sources its parts share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

from maestro.clients.database import Database
from maestro.clients.home import Home
from maestro.clients.registry import ModelRegistry
from maestro.core.clock import Clock
from maestro.core.seams import MetricSource, Notifier, TrafficTarget
from maestro.governance.alias_watch import AliasWatch
from maestro.governance.approval import Approvals, ApprovalStore, EvidenceGatherer
from maestro.governance.approval.approvals import ANSWER, GATE, replay_answer, replay_gate
from maestro.governance.decisions import DecisionStore, Replayers
from maestro.governance.lineage.lineage import Lineage
from maestro.governance.lineage.store import LineageStore
from maestro.governance.rollouts import RolloutController, RolloutRunner, RolloutStore
from maestro.governance.rollouts.graph_watch import GraphWatch
from maestro.governance.rollouts.runner import Watch
from maestro.governance.rollouts.statements import Statements
from maestro.governance.rollouts.transitions import Transitions
from maestro.governance.rollouts.verdicts import HUMAN, READINESS, replay_human, replay_readiness
from maestro.governance.versions import Registrar, Stages, VersionStore
from maestro.security.audit import AuditLog
from maestro.security.keyring import key_path
from maestro.security.signing import PrivateKey


class Governance:
    """The parts, each built when first asked for. Thread-safe after construction.

    Args:
        home: `$MAESTRO_HOME`.
        trust: the trust policy's path; that of the home when None.
        database: the platform database.
        clock: of every decision.
        audit: the audit log.
        registry: MLflow.
        targets: the target of a model's traffic.
        sources: the source of a model's evidence.
        endpoint: where models are served, for lineage.
        notifier: told of aliases moved by hand.
        models: the models that have a graph; those of the home when None.
        watches: what else the runner looks at.
    """

    def __init__(
        self,
        *,
        home: Home,
        trust: Path | None = None,
        database: Database,
        clock: Clock,
        audit: AuditLog,
        registry: ModelRegistry,
        targets: Callable[[str], TrafficTarget],
        sources: Callable[[str], MetricSource],
        endpoint: str = "",
        notifier: Notifier | None = None,
        models: Callable[[], Iterable[str]] | None = None,
        watches: Sequence[Watch] = (),
    ) -> None:
        self.home = home
        self.trust = trust or home.trust_policy
        self.database = database
        self.clock = clock
        self.audit = audit
        self.registry = registry
        self.targets = targets
        self.sources = sources
        self._endpoint = endpoint
        self._notifier = notifier
        self._models = models or (lambda: sorted(path.stem for path in home.graphs.glob("*.yaml")))
        self._watches = tuple(watches)

    @cached_property
    def versions(self) -> VersionStore:
        """Registered versions."""
        return VersionStore(self.database)

    @cached_property
    def stages(self) -> Stages:
        """Where versions stand."""
        return Stages(self.versions, self.clock, self.audit, self.registry, self.home.versions, self.trust)

    @cached_property
    def registrar(self) -> Registrar:
        """Registers versions; needs the `builder` key."""
        builder = PrivateKey.load(key_path(self.home.keys, "builder"))
        return Registrar(
            self.versions, self.clock, self.audit, self.registry, builder, self.home.versions, self.lineage.materials
        )

    @cached_property
    def decisions(self) -> DecisionStore:
        """The log of decisions."""
        return DecisionStore(self.database, self.clock, self.audit)

    @cached_property
    def replayers(self) -> Replayers:
        """How each kind of decision is computed again."""
        replayers = Replayers()
        for kind, replayer in (
            (GATE, replay_gate),
            (ANSWER, replay_answer),
            (READINESS, replay_readiness),
            (HUMAN, replay_human),
        ):
            replayers.register(kind, replayer)
        return replayers

    @cached_property
    def lineage(self) -> Lineage:
        """What was made from what."""
        return Lineage(
            LineageStore(self.database), self.versions, self.rollout_store, self.registry, self.clock, self._endpoint
        )

    @cached_property
    def evidence(self) -> EvidenceGatherer:
        """What gates are judged by."""
        return EvidenceGatherer(self.versions, self.clock, self.home.versions, self.trust, self.lineage, self.targets)

    @cached_property
    def approvals(self) -> Approvals:
        """Submissions and their answers."""
        return Approvals(
            ApprovalStore(self.database),
            self.versions,
            self.decisions,
            self.stages,
            self.evidence,
            self.clock,
            self.audit,
        )

    @cached_property
    def rollout_store(self) -> RolloutStore:
        """The rows of rollouts."""
        return RolloutStore(self.database, self.clock)

    @cached_property
    def rollouts(self) -> RolloutController:
        """Rollouts; needs the `decider` key."""
        decider = PrivateKey.load(key_path(self.home.keys, "decider"))
        transitions = Transitions(
            self.rollout_store,
            self.decisions,
            self.versions,
            self.stages,
            Statements(self.home.versions, decider),
            self.clock,
            self.audit,
            self.targets,
            self.sources,
        )
        return RolloutController(
            self.rollout_store,
            self.decisions,
            self.versions,
            self.approvals,
            transitions,
            self.clock,
            self.audit,
            self.targets,
        )

    @cached_property
    def graph_watch(self) -> GraphWatch:
        """Finds graphs that a person edited."""
        return GraphWatch(self.database, self.decisions, self.rollout_store, self.clock, self._models, self.targets)

    @cached_property
    def alias_watch(self) -> AliasWatch:
        """Finds aliases that a person moved."""
        return AliasWatch(self.database, self.clock, self.audit, self.registry, self._notifier)

    @cached_property
    def runner(self) -> RolloutRunner:
        """The threads that lead rollouts and watch."""
        return RolloutRunner(
            self.rollouts,
            (
                Watch("graph watch", 1.0, self.graph_watch.check),
                Watch("alias watch", 3.0, self._check_aliases),
                *self._watches,
            ),
        )

    def _check_aliases(self) -> None:
        for model in self._models():
            self.alias_watch.check(model, self.targets(model))
