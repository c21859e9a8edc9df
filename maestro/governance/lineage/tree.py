"""Lineage as text: from the origin down to the use."""

from __future__ import annotations

from maestro.governance.lineage.model import LineageGraph, LineageNode

_SHOWN: dict[str, tuple[str, ...]] = {
    "data": ("version", "source", "rows", "sample_count"),
    "features": ("fingerprint", "views"),
    "run": ("algorithm", "training_time_s", "code"),
    "version": ("digest", "registry_version"),
    "deployment": ("environment", "strategy", "verdict", "endpoint"),
}


def tree(graph: LineageGraph) -> str:
    """An indented tree, one line a node; a node that was reached before is named and not repeated.

    >>> from maestro.governance.lineage.model import LineageEdge
    >>> data = LineageNode(id="data/d", kind="data", name="d", facts={"rows": 5})
    >>> run = LineageNode(id="run/r", kind="run", name="r")
    >>> print(tree(LineageGraph.of([data, run], [LineageEdge(source="data/d", target="run/r")])))
    data d (rows 5)
    └─ run r
    """
    children: dict[str, list[str]] = {}
    targets = set()
    for edge in graph.edges:
        children.setdefault(edge.source, []).append(edge.target)
        targets.add(edge.target)
    by_id = {node.id: node for node in graph.nodes}
    lines: list[str] = []
    seen: set[str] = set()

    def walk(node_id: str, prefix: str, branch: str, below: str) -> None:
        node = by_id[node_id]
        if node_id in seen:
            lines.append(f"{prefix}{branch}{node.kind} {node.name} (above)")
            return
        seen.add(node_id)
        lines.append(f"{prefix}{branch}{describe(node)}")
        following = children.get(node_id, [])
        for position, child in enumerate(following):
            last = position == len(following) - 1
            walk(child, prefix + below, "└─ " if last else "├─ ", "   " if last else "│  ")

    for node in graph.nodes:
        if node.id not in targets:
            walk(node.id, "", "", "")
    return "\n".join(lines)


def describe(node: LineageNode) -> str:
    """One line on a node."""
    facts = [
        f"{name} {_short(node.facts[name])}" for name in _SHOWN[node.kind] if node.facts.get(name) not in (None, "", [])
    ]
    return f"{node.kind} {node.name}" + (f" ({', '.join(facts)})" if facts else "")


def _short(value: object) -> str:
    if isinstance(value, list):
        return "+".join(str(item) for item in value)
    text = str(value)
    return text[:19] + "…" if text.startswith("sha256:") else text
