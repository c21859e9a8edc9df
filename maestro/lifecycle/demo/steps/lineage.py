"""Step 5: what was made from what, recorded with no lineage call in the training code."""

from __future__ import annotations

from typing import Any

from maestro.core.errors import NotFound
from maestro.governance.lineage.drawing import svg
from maestro.governance.lineage.model import LineageGraph
from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.stage import Stage

_LINKS = {"data", "features", "run", "version"}


def run(stage: Stage) -> Outcome:
    """Read the lineage of the better model's run; its deployment is added when it has one."""
    run_id = stage.facts["jobs"]["better"]["run_id"]
    graph = lineage_of(stage, run_id, _LINKS)
    events = stage.api("reviewer").get(f"/lineage/runs/{run_id}/events")
    return Outcome(
        f"{len(graph.nodes)} nodes and {len(graph.edges)} edges from data to version; {len(events)} OpenLineage events",
        bool(events),
        f"governance/lineage-tracker.py visualize --run-id {run_id}",
        sections=(svg(graph),),
        facts={"nodes": len(graph.nodes), "events": len(events)},
    )


def lineage_of(stage: Stage, run_id: str, kinds: set[str]) -> LineageGraph:
    """The lineage of a run, once it has nodes of all `kinds`."""
    client = stage.api("reviewer")

    def complete() -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = client.get(f"/lineage/runs/{run_id}")
        except NotFound:
            return None
        return found if {node["kind"] for node in found["nodes"]} >= kinds else None

    return LineageGraph.model_validate(stage.wait_for("lineage of the run", complete, 30.0, 0.3))
