"""A foreign edit of a graph that no rollout is watching: honoured by the servers, recorded here as a decision by a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import select

from maestro.clients.database import Database
from maestro.clients.database.outbox import append_event
from maestro.clients.database.schema.core import outbox
from maestro.core.clock import Clock
from maestro.core.decision import DecisionRecord, Subject, Verdict
from maestro.core.errors import MaestroError
from maestro.core.graph import InferenceGraph
from maestro.core.seams import TrafficTarget
from maestro.governance.decisions.store import DecisionStore
from maestro.governance.production import production_node
from maestro.governance.rollouts.store import RolloutStore
from maestro.governance.rollouts.verdicts import HUMAN, foreign_edit

_KINDS = ("graph.written", "graph.honoured")


class GraphWatch:
    """Compares each graph with the last one that is known to be ours."""

    def __init__(
        self,
        database: Database,
        decisions: DecisionStore,
        rollouts: RolloutStore,
        clock: Clock,
        models: Callable[[], Iterable[str]],
        targets: Callable[[str], TrafficTarget],
    ) -> None:
        self._database = database
        self._decisions = decisions
        self._rollouts = rollouts
        self._clock = clock
        self._models = models
        self._targets = targets
        self._suspected: dict[str, str] = {}

    def check(self) -> list[DecisionRecord]:
        """Record each foreign edit once. An edit counts when two looks in a row have seen it: one of ours is on record by then."""
        recorded = []
        for model in self._models():
            try:
                found = self._check(model)
            except MaestroError:
                continue  # a graph that cannot be read is refused by the server, which says so
            if found is not None:
                recorded.append(found)
        return recorded

    def _check(self, model: str) -> DecisionRecord | None:
        graph = self._targets(model).read()
        if graph is None:
            return None
        identity = graph.content_digest()
        with self._database.read() as connection:
            if self._rollouts.running(connection, model) is not None:
                return None
            known = connection.execute(
                select(outbox.c.data)
                .where(outbox.c.kind.in_(_KINDS), outbox.c.subject == f"graph/{model}")
                .order_by(outbox.c.seq.desc())
                .limit(1)
            ).scalar_one_or_none()
        if known is not None and known.get("digest") == identity:
            self._suspected.pop(model, None)
            return None
        if self._suspected.get(model) != identity:
            self._suspected[model] = identity
            return None
        del self._suspected[model]
        return self._record(model, graph, identity, None if known is None else int(known.get("revision", 0)))

    def _record(self, model: str, graph: InferenceGraph, identity: str, replaced: int | None) -> DecisionRecord | None:
        node = production_node(graph) or next(iter(graph.models().values()), None)
        with self._database.begin() as connection:
            append_event(
                connection,
                kind="graph.honoured",
                subject=f"graph/{model}",
                actor="human",
                data={"revision": graph.metadata.revision, "digest": identity},
                at=self._clock.now(),
            )
            if node is None:
                return None
            return self._decisions.record(
                connection,
                kind=HUMAN,
                subject=Subject(model=model, version=node.version, digest=node.digest),
                inputs=foreign_edit(graph, replaced),
                verdict=Verdict.FREEZE,
                actor="human",
                reasons=({"cause": "human", "detail": "a person changed the graph"},),
                event="graph.foreign",
                data={"graph": identity},
            )
