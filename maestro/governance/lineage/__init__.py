"""Lineage data → features → run → version → deployment, recorded from events and runs: no lineage call stands in training code."""

from maestro.governance.lineage.model import LineageEdge, LineageGraph, LineageNode

__all__ = ["LineageEdge", "LineageGraph", "LineageNode"]
