"""The graphs of a rollout: champion and challenger behind a split, then one of them alone."""

from __future__ import annotations

from maestro.core.graph import (
    FULL_WEIGHT,
    Arm,
    GraphMetadata,
    InferenceGraph,
    ModelNode,
    Node,
    ShadowNode,
    SplitNode,
)
from maestro.core.model import Digest, Model, Name

SERVED = "champion"
"""The node of a graph with one version."""


class Arms(Model):
    """What a rollout compares. `number` counts the model's rollouts: arms are named by it, so that evidence starts anew with each."""

    model: Name
    number: int
    champion: str | None = None
    champion_digest: Digest | None = None
    challenger: str
    challenger_digest: Digest
    timeout_ms: int = 1000

    @property
    def champion_node(self) -> str:
        """The champion's node."""
        return f"champion-{self.number}"

    @property
    def challenger_node(self) -> str:
        """The challenger's node."""
        return f"challenger-{self.number}"

    @property
    def experiment(self) -> str:
        """Under which exposures are recorded."""
        return f"{self.model}-rollout-{self.number}"

    def champion_model(self) -> ModelNode:
        """The champion, pinned by digest."""
        if self.champion is None or self.champion_digest is None:
            raise ValueError("the first version of a model has no champion")
        return ModelNode(
            model=self.model, version=self.champion, digest=self.champion_digest, timeout_ms=self.timeout_ms
        )

    def challenger_model(self) -> ModelNode:
        """The challenger, pinned by digest."""
        return ModelNode(
            model=self.model, version=self.challenger, digest=self.challenger_digest, timeout_ms=self.timeout_ms
        )


def split_graph(arms: Arms, weight: float, revision: int) -> InferenceGraph:
    """Champion and challenger, sticky by entity, `weight` percent to the challenger; the champion answers for it when it fails."""
    challenger = round(weight * FULL_WEIGHT / 100)
    split = SplitNode(
        salt=arms.experiment,
        experiment=arms.experiment,
        arms=(
            Arm(node=arms.champion_node, weight=FULL_WEIGHT - challenger),
            Arm(node=arms.challenger_node, weight=challenger),
        ),
        fallback=arms.champion_node,
    )
    nodes: dict[str, Node] = {
        "split": split,
        arms.champion_node: arms.champion_model(),
        arms.challenger_node: arms.challenger_model(),
    }
    return _graph(arms.model, revision, "split", nodes)


def shadow_graph(arms: Arms, revision: int) -> InferenceGraph:
    """The champion answers, the challenger gets a copy of every request."""
    nodes: dict[str, Node] = {
        "shadow": ShadowNode(primary=arms.champion_node, mirror=arms.challenger_node),
        arms.champion_node: arms.champion_model(),
        arms.challenger_node: arms.challenger_model(),
    }
    return _graph(arms.model, revision, "shadow", nodes)


def single_graph(node: ModelNode, revision: int) -> InferenceGraph:
    """One version with all the traffic."""
    return _graph(node.model, revision, SERVED, {SERVED: node})


def same_content(one: InferenceGraph, other: InferenceGraph) -> bool:
    """Whether two graphs are the same, revision included."""
    return one.content_digest() == other.content_digest()


def _graph(model: str, revision: int, root: str, nodes: dict[str, Node]) -> InferenceGraph:
    return InferenceGraph(metadata=GraphMetadata(name=model, revision=revision), root=root, nodes=nodes)
