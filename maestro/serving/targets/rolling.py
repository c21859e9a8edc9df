"""Carries a graph out by one Deployment whose pods are replaced one by one, each ready before the next."""

from __future__ import annotations

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.cluster import ClusterServing
from maestro.core.errors import BadInput
from maestro.core.graph import FULL_WEIGHT, InferenceGraph
from maestro.serving.targets._route import refuse_mirror
from maestro.serving.targets.fleet import Fleet
from maestro.serving.targets.plan import goal_of


class RollingReplacement:
    """Implements `maestro.serving.targets.kubernetes.Carrier`.

    A challenger at weight 0 is not started: in one Deployment a pod that is ready has traffic. What makes it wait for readiness is the Deployment's own
    strategy, which is set so that no pod ends before another is ready.
    """

    def __init__(self, cluster: Cluster, options: ClusterServing, fleet: Fleet) -> None:
        self._cluster = cluster
        self._ref = Ref("apps/v1", "Deployment", options.champion, options.namespace)
        self._fleet = fleet

    def check(self, graph: InferenceGraph) -> None:
        """One version has the traffic."""
        goal = goal_of(graph)
        refuse_mirror(goal.mirror, "one Deployment")
        if goal.weight:
            raise BadInput(
                f"one Deployment serves one version, and cannot give {goal.weight / FULL_WEIGHT:.2%} to another", field="strategy",
                remedy="choose rolling; canary needs MAESTRO_CLUSTER__SERVING__TRAFFIC=httproute or router",
            )  # fmt: skip

    def routed(self, graph: InferenceGraph) -> InferenceGraph:
        """Nothing but the graph says who has traffic."""
        return graph

    def step(self, graph: InferenceGraph) -> str | None:
        """Give the Deployment the version, then wait for its pods."""
        goal = goal_of(graph)
        seen = self._fleet.see("champion")
        if not seen.holds(goal.champion):
            self._cluster.patch(self._ref, {"spec": {"strategy": _ONE_BY_ONE}})
            self._fleet.place("champion", goal.champion)
            return ""
        return None if seen.ready else self._fleet.trouble("champion")


_ONE_BY_ONE = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
