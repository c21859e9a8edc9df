"""Carries a graph out by the servers that follow it themselves: every replica loads what it names and splits as it says."""

from __future__ import annotations

from maestro.core.graph import InferenceGraph
from maestro.serving.targets.replicas import Addresses, behind


class Router:
    """Implements `maestro.serving.targets.kubernetes.Carrier`. Any graph; it is in force when every replica serves it.

    Args:
        addresses: the replicas.
        token: a key with any role.
    """

    def __init__(self, addresses: Addresses, model: str, token: str) -> None:
        self._addresses = addresses
        self._model = model
        self._token = token

    def check(self, graph: InferenceGraph) -> None:
        """Every graph."""

    def routed(self, graph: InferenceGraph) -> InferenceGraph:
        """The graph is what routes."""
        return graph

    def step(self, graph: InferenceGraph) -> str | None:
        """Ask every replica."""
        return behind(self._addresses(), self._model, graph, self._token) or None
