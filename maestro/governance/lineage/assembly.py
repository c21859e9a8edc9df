"""From stored OpenLineage events back to the graph of data, features, runs, versions and deployments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from maestro.governance.lineage.model import LineageEdge, LineageGraph, LineageNode, NodeKind

DATA, FEATURES, VERSION, ENDPOINT = "data/", "features/", "versions/", "serving/"
"""Prefixes of dataset names."""

_RUN_FACETS: dict[str, NodeKind] = {"maestro_training": "run", "maestro_deployment": "deployment"}
_HIDDEN = {"_producer", "_schemaURL"}


def assemble(events: Iterable[dict[str, Any]]) -> LineageGraph:
    """The graph that events tell of. Runs that only pass data on (materialisation, registration) become edges."""
    nodes: list[LineageNode] = []
    edges: list[LineageEdge] = []
    for event in events:
        if event.get("eventType") != "COMPLETE":
            continue
        inputs = [node for item in event.get("inputs", []) if (node := _dataset(item)) is not None]
        outputs = [node for item in event.get("outputs", []) if (node := _dataset(item)) is not None]
        nodes += inputs + outputs
        through = _run(event)
        if through is None:
            edges += [LineageEdge(source=one.id, target=other.id) for one in inputs for other in outputs]
            continue
        nodes.append(through)
        edges += [LineageEdge(source=one.id, target=through.id) for one in inputs]
        edges += [LineageEdge(source=through.id, target=other.id) for other in outputs]
    return LineageGraph.of(nodes, edges)


def _run(event: dict[str, Any]) -> LineageNode | None:
    facets: dict[str, Any] = event["run"].get("facets", {})
    for name, kind in _RUN_FACETS.items():
        if name in facets:
            facts = _visible(facets[name])
            key = str(facts.pop("id"))
            return LineageNode(id=f"{kind}/{key}", kind=kind, name=str(facts.pop("name", key)), facts=facts)
    return None


def _dataset(item: dict[str, Any]) -> LineageNode | None:
    name, facets = str(item["name"]), item.get("facets", {})
    facts: dict[str, Any] = {}
    for key, facet in facets.items():
        if key.startswith("maestro_"):
            facts |= _visible(facet)
    if "version" in facets:
        facts["version"] = facets["version"]["datasetVersion"]
    if "dataSource" in facets:
        facts["source"] = facets["dataSource"]["name"]
    if "schema" in facets:
        facts["schema"] = {field["name"]: field.get("type", "") for field in facets["schema"]["fields"]}
    statistics = item.get("inputFacets", {}).get("inputStatistics")
    if statistics is not None:
        facts["rows"] = statistics["rowCount"]
    for prefix, kind in ((DATA, "data"), (FEATURES, "features"), (VERSION, "version")):
        if name.startswith(prefix):
            return LineageNode.model_validate(
                {"id": name, "kind": kind, "name": name.removeprefix(prefix), "facts": facts}
            )
    return None


def _visible(facet: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facet.items() if key not in _HIDDEN}
