"""The lineage graph: what was made from what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from maestro.core.model import Model

NodeKind = Literal["data", "features", "run", "version", "deployment"]

LAYERS: tuple[NodeKind, ...] = ("data", "features", "run", "version", "deployment")
"""From the origin to the use."""


class LineageNode(Model):
    """One thing: its kind, its name within the kind, and what is known of it."""

    id: str
    kind: NodeKind
    name: str
    facts: dict[str, Any] = Field(default_factory=dict)


class LineageEdge(Model):
    """`target` was made from `source`."""

    source: str
    target: str


class LineageGraph(Model):
    """Nodes in the order of layers, edges from origin to use."""

    nodes: tuple[LineageNode, ...] = ()
    edges: tuple[LineageEdge, ...] = ()

    @classmethod
    def of(cls, nodes: Iterable[LineageNode], edges: Iterable[LineageEdge]) -> LineageGraph:
        """A graph with each node and edge once; later facts of a node replace earlier ones."""
        by_id: dict[str, LineageNode] = {}
        for node in nodes:
            known = by_id.get(node.id)
            by_id[node.id] = node if known is None else node.model_copy(update={"facts": known.facts | node.facts})
        ordered = sorted(by_id.values(), key=lambda node: (LAYERS.index(node.kind), node.name))
        unique = dict.fromkeys((edge.source, edge.target) for edge in edges)
        return cls(
            nodes=tuple(ordered),
            edges=tuple(
                LineageEdge(source=source, target=target)
                for source, target in unique
                if source in by_id and target in by_id
            ),
        )

    def around(self, node_id: str) -> LineageGraph:
        """The node with everything it was made from and everything made from it."""
        kept = {node_id}
        for forward in (True, False):
            pending = [node_id]
            while pending:
                current = pending.pop()
                for edge in self.edges:
                    here, there = (edge.source, edge.target) if forward else (edge.target, edge.source)
                    if here == current and there not in kept:
                        kept.add(there)
                        pending.append(there)
        return LineageGraph(
            nodes=tuple(node for node in self.nodes if node.id in kept),
            edges=tuple(edge for edge in self.edges if edge.source in kept and edge.target in kept),
        )

    def find(self, kind: NodeKind) -> tuple[LineageNode, ...]:
        """The nodes of a kind."""
        return tuple(node for node in self.nodes if node.kind == kind)
