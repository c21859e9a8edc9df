"""Carries a graph out by two Deployments and a route between them."""

from __future__ import annotations

import logging

from maestro.core.graph import InferenceGraph
from maestro.serving.targets._route import Carried, Route
from maestro.serving.targets.fleet import Fleet
from maestro.serving.targets.plan import Place, Retire, Seen, Wait, Weigh, as_routed, goal_of, next_move

log = logging.getLogger(__name__)


class Slots:
    """Implements `maestro.serving.targets.kubernetes.Carrier`."""

    def __init__(self, fleet: Fleet, route: Route) -> None:
        self._fleet = fleet
        self._route = route

    def check(self, graph: InferenceGraph) -> None:
        """Two versions at most, and weights that the route can carry."""
        goal = goal_of(graph)
        self._route.check(goal.weight, goal.mirror)

    def routed(self, graph: InferenceGraph) -> InferenceGraph:
        """With the route's own weights, where a person changed them."""
        carried = self._route.read()
        if carried.graph != graph.content_digest():
            return graph
        seen = Seen(weight=carried.weight, mirror=carried.mirror, carried=carried.graph)
        goal = goal_of(graph)
        if (seen.weight, seen.mirror) == (goal.weight, goal.mirror):
            return graph
        return as_routed(graph, goal, seen, self._fleet.served("challenger"))

    def step(self, graph: InferenceGraph) -> str | None:
        """One move."""
        goal, identity = goal_of(graph), graph.content_digest()
        seen = self.see()
        if seen.carried == identity and (seen.weight, seen.mirror) != (goal.weight, goal.mirror):
            return None  # the route was edited by hand since: that is honoured
        move = next_move(goal, seen, identity)
        match move:
            case None:
                return None
            case Wait(slot):
                return self._fleet.trouble(slot)
            case Place(slot, node):
                log.info("giving %s@%s to slot %s", node.model, node.version, slot)
                self._fleet.place(slot, node)
            case Weigh(weight, mirror, final):
                log.info("giving the challenger's slot %d of 10000", weight)
                self._route.write(Carried(weight=weight, mirror=mirror, graph=identity if final else seen.carried))
            case Retire(slot):
                log.info("scaling slot %s down", slot)
                self._fleet.retire(slot)
        return ""

    def see(self) -> Seen:
        """The cluster as it is."""
        carried = self._route.read()
        return Seen(
            champion=self._fleet.see("champion"),
            challenger=self._fleet.see("challenger"),
            weight=carried.weight,
            mirror=carried.mirror,
            carried=carried.graph,
        )
