"""Instant rollback: one write of the graph, to a version that holds a promotion. Database, registry and MLflow may be down."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from maestro.clients.database import Database
from maestro.core.clock import Clock
from maestro.core.decision import Subject, Verdict
from maestro.core.errors import Conflict, NotFound
from maestro.core.graph import InferenceGraph, ModelNode
from maestro.core.model import Digest, Model, Name
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.seams import TrafficTarget
from maestro.core.statement import TrustPolicy
from maestro.governance.decisions.store import DecisionStore
from maestro.governance.production import production_node
from maestro.governance.rollouts.graphs import single_graph
from maestro.governance.rollouts.transitions import graph_written
from maestro.governance.rollouts.verdicts import HUMAN
from maestro.governance.versions.stages import admit, rollback_list


class RolledBack(Model):
    """What an instant rollback did."""

    model: Name
    from_version: str
    to_version: str
    to_digest: Digest
    revision: int
    recorded: bool = False


def instant_rollback(
    target: TrafficTarget,
    versions: Path,
    trust: TrustPolicy,
    model: str,
    *,
    principal: Principal,
    at: datetime,
    to: str | None = None,
) -> RolledBack:
    """Give all traffic of a model to a version that was promoted before.

    Args:
        target: where the graph is.
        versions: `$MAESTRO_HOME/versions`.
        trust: whose statements count.
        model: the model.
        principal: who orders it, by a verified key.
        at: now.
        to: the version; by default the champion of a rollout in progress, else the latest promoted one that is not served.

    Raises:
        Untrusted: `to` holds no promotion.
        NotFound: there is no graph, or nothing to go back to.
        Conflict: `to` has all the traffic already, or somebody wrote first.
    """
    principal.require(PrincipalRole.OPERATOR)
    graph = target.read()
    if graph is None:
        raise NotFound(f"model {model} has no graph", field="model", remedy="name a model that is served")
    served = production_node(graph)
    version = to or _default(graph, served, versions, trust, model, at)
    admission = admit(versions, model, version, trust, at)
    node = ModelNode(model=model, version=version, digest=admission.manifest.content_digest())
    single = isinstance(graph.nodes[graph.root], ModelNode)
    if single and served is not None and served.version == version:
        raise Conflict(f"{model}@{version} has all the traffic", field="to", remedy="name another version with --to")
    revision = graph.metadata.revision
    target.write(single_graph(node, revision + 1), expected_revision=revision)
    return RolledBack(
        model=model,
        from_version=_described(graph),
        to_version=version,
        to_digest=node.digest,
        revision=revision + 1,
    )


def record_rollback(
    database: Database,
    decisions: DecisionStore,
    clock: Clock,
    done: RolledBack,
    principal: Principal,
    graph: InferenceGraph | None,
) -> RolledBack:
    """Put a rollback on record. What is not recorded here is found by the graph watch, as a person's edit."""
    with database.begin() as connection:
        decisions.record(
            connection,
            kind=HUMAN,
            subject=Subject(model=done.model, version=done.to_version, digest=done.to_digest),
            inputs={"decided": "rollback", "from": done.from_version, "to": done.to_version, "revision": done.revision},
            verdict=Verdict.ROLL_BACK,
            actor=principal.actor,
            event="rollout.moved",
            data={"from": done.from_version, "to": done.to_version, "revision": done.revision},
        )
        if graph is not None and graph.metadata.revision == done.revision:
            graph_written(connection, graph, principal.actor, clock)
    return done.model_copy(update={"recorded": True})


def _default(
    graph: InferenceGraph, served: ModelNode | None, versions: Path, trust: TrustPolicy, model: str, at: datetime
) -> str:
    if served is not None and not isinstance(graph.nodes[graph.root], ModelNode):
        return served.version
    for promoted in rollback_list(versions, model, trust, at):
        if served is None or promoted.version != served.version:
            return promoted.version
    raise NotFound(
        f"model {model} has no other version with a promotion",
        field="to",
        remedy="roll out another version: maestro deploy start",
    )


def _described(graph: InferenceGraph) -> str:
    return "+".join(sorted({node.version for node in graph.models().values()})) or "none"
