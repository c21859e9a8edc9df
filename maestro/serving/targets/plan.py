"""What to do next so that the cluster serves a graph: a pure function of the graph and of what is seen.

Two slots, champion and challenger, each with one version; a route between them. Whoever acts looks again after every move, so that a controller killed
between any two moves is followed by one that goes on. What always holds: a slot gets weight only when every pod that it wants is ready and warm; a slot
that has weight or a mirror is never given another version; a slot is scaled down only when it has neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from maestro.core.errors import BadInput
from maestro.core.graph import FULL_WEIGHT, Arm, InferenceGraph, ModelNode, ShadowNode, SplitNode
from maestro.core.model import Model

SlotName = Literal["champion", "challenger"]


class Goal(Model):
    """What a graph asks of two slots. `weight` is the challenger's, in 1/10,000; `mirror` the share of requests that it gets a copy of."""

    champion: ModelNode
    challenger: ModelNode | None = None
    weight: int = 0
    mirror: float | None = None


class Slot(Model):
    """One Deployment as it is: the version that its pods are to serve, how many, and whether all of them do."""

    version: str | None = None
    digest: str | None = None
    replicas: int = 0
    ready: bool = False

    def holds(self, node: ModelNode) -> bool:
        """Whether it is to serve this very version."""
        return self.replicas > 0 and self.digest == node.digest and self.version == node.version


class Seen(Model):
    """The cluster as it is. `carried` is the digest of the graph that the route was last written for."""

    champion: Slot = Slot()
    challenger: Slot = Slot()
    weight: int = 0
    mirror: float | None = None
    carried: str | None = None

    @property
    def challenger_is_used(self) -> bool:
        """Whether requests reach the challenger's slot."""
        return self.weight > 0 or self.mirror is not None


@dataclass(frozen=True)
class Place:
    """Give a slot a version and its pods."""

    slot: SlotName
    node: ModelNode


@dataclass(frozen=True)
class Weigh:
    """Write the route; `final` when it is the graph's own, not a step on the way."""

    weight: int
    mirror: float | None = None
    final: bool = False


@dataclass(frozen=True)
class Retire:
    """Scale a slot down to nothing."""

    slot: SlotName


@dataclass(frozen=True)
class Wait:
    """Nothing can be done until pods are ready."""

    slot: SlotName


Move = Place | Weigh | Retire | Wait


def goal_of(graph: InferenceGraph) -> Goal:
    """What a graph asks of two slots.

    Raises:
        BadInput: it asks for more than one split or shadow of two versions.
    """
    root = graph.nodes[graph.root]
    match root:
        case ModelNode():
            return Goal(champion=root)
        case ShadowNode():
            primary, mirror = graph.nodes[root.primary], graph.nodes[root.mirror]
            if isinstance(primary, ModelNode) and isinstance(mirror, ModelNode):
                return Goal(champion=primary, challenger=mirror, mirror=root.fraction)
        case SplitNode() if len(root.arms) <= 2:
            nodes = {arm.node: graph.nodes[arm.node] for arm in root.arms}
            first = root.fallback or root.arms[0].node
            champion = graph.nodes[first]
            others = [arm for arm in root.arms if arm.node != first]
            if isinstance(champion, ModelNode) and len(others) <= 1:
                if not others:
                    return Goal(champion=champion)
                challenger = nodes[others[0].node]
                if isinstance(challenger, ModelNode):
                    return Goal(champion=champion, challenger=challenger, weight=others[0].weight)
        case _:
            pass
    raise BadInput(
        f"the graph of {graph.metadata.name} asks for more than two slots can serve: its root is a {root.type}",
        field="root",
        remedy="write one version, one split or one shadow of two versions; the router serves any graph "
        "(MAESTRO_CLUSTER__SERVING__TRAFFIC=router)",
    )


def next_move(goal: Goal, seen: Seen, digest: str) -> Move | None:
    """The next move towards a goal, or None when it is reached.

    Args:
        goal: what the graph asks for.
        seen: the cluster as it is now.
        digest: of the graph, by which the route says whose weights it has.
    """
    if goal.challenger is None:
        return _alone(goal.champion, seen, digest)
    if not seen.champion.holds(goal.champion):
        return _alone(goal.champion, seen, digest)
    if not seen.champion.ready:
        return Wait("champion")
    if not seen.challenger.holds(goal.challenger):
        # its pods may be at work for another graph: first nobody may need them
        return Weigh(0) if seen.challenger_is_used else Place("challenger", goal.challenger)
    if not seen.challenger.ready:
        return Wait("challenger")
    if (seen.weight, seen.mirror, seen.carried) != (goal.weight, goal.mirror, digest):
        return Weigh(goal.weight, goal.mirror, final=True)
    return None


def _alone(node: ModelNode, seen: Seen, digest: str) -> Move | None:
    """One version, in the champion's slot. What is elsewhere serves until it is ready there."""
    if seen.champion.holds(node):
        if not seen.champion.ready:
            return Wait("champion")
        if (seen.weight, seen.mirror, seen.carried) != (0, None, digest):
            return Weigh(0, final=True)
        return Retire("challenger") if seen.challenger.replicas else None
    if seen.champion.replicas == 0 and not seen.challenger_is_used:
        return Place("champion", node)  # nothing is served: there is nothing to keep up
    if not seen.challenger.holds(node):
        if seen.challenger_is_used:
            return Weigh(0) if seen.champion.ready else Wait("champion")
        return Place("challenger", node)
    if not seen.challenger.ready:
        return Wait("challenger")
    if (seen.weight, seen.mirror) != (FULL_WEIGHT, None):
        return Weigh(FULL_WEIGHT)
    return Place("champion", node)


def as_routed(graph: InferenceGraph, goal: Goal, seen: Seen, challenger: ModelNode | None) -> InferenceGraph:
    """The graph as the route really carries it: a route that was edited by hand shows as a graph with its weights.

    Args:
        graph: as the ConfigMap has it.
        goal: what it asks for.
        seen: the cluster as it is.
        challenger: what the challenger's slot serves.
    """
    if seen.carried != graph.content_digest() or (seen.weight, seen.mirror) == (goal.weight, goal.mirror):
        return graph
    node = goal.challenger or challenger
    if node is None:
        return graph
    nodes = {"champion": goal.champion, "challenger": node}
    if seen.mirror is not None:
        root: ShadowNode | SplitNode = ShadowNode(primary="champion", mirror="challenger", fraction=seen.mirror)
    else:
        arms = (Arm(node="champion", weight=FULL_WEIGHT - seen.weight), Arm(node="challenger", weight=seen.weight))
        root = SplitNode(arms=arms, fallback="champion")
    return InferenceGraph.model_validate(
        {
            "metadata": graph.metadata.document(),
            "root": "route",
            "nodes": {name: item.document() for name, item in {**nodes, "route": root}.items()},
        }
    )
