"""The inference graph: the only source of traffic (`kind: InferenceGraph`)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from maestro.core.model import Digest, Model, Name

FULL_WEIGHT = 10_000
"""Weights are in 1/10,000."""


class GraphMetadata(Model):
    """The graph's name and its revision, which every write raises by one (compare-and-swap)."""

    name: Name
    revision: int = Field(ge=1)


class ModelNode(Model):
    """A version served here, pinned by the digest of its manifest."""

    type: Literal["model"] = "model"
    model: Name
    version: str
    digest: Digest
    timeout_ms: int = Field(default=1000, gt=0)


class RemoteNode(Model):
    """A model behind the Open Inference Protocol elsewhere."""

    type: Literal["remote"] = "remote"
    url: str = Field(pattern=r"^https?://")
    timeout_ms: int = Field(default=1000, gt=0)


class Arm(Model):
    """One branch of a split: share in 1/10,000."""

    node: Name
    weight: int = Field(ge=0, le=FULL_WEIGHT)


class SplitNode(Model):
    """A weighted split, sticky by `key` when the request has it, else per request.

    An arm that fails is answered by `fallback`; the failure still counts as the arm's own.
    """

    type: Literal["split"] = "split"
    key: str | None = None
    salt: str = ""
    experiment: Name | None = Field(default=None, description="exposures are recorded under this name")
    arms: tuple[Arm, ...] = Field(min_length=1)
    fallback: Name | None = None

    @model_validator(mode="after")
    def _weights_add_up(self) -> Self:
        total = sum(arm.weight for arm in self.arms)
        if total != FULL_WEIGHT:
            raise ValueError(f"weights of a split add up to {FULL_WEIGHT}, these to {total}")
        if len({arm.node for arm in self.arms}) != len(self.arms):
            raise ValueError("a split names each node once")
        return self


class ShadowNode(Model):
    """Answers come from `primary`; `mirror` gets a copy of `fraction` of the requests and is never waited for."""

    type: Literal["shadow"] = "shadow"
    primary: Name
    mirror: Name
    fraction: float = Field(default=1.0, gt=0.0, le=1.0)


class EnsembleNode(Model):
    """All members answer; the answers are combined."""

    type: Literal["ensemble"] = "ensemble"
    members: tuple[Name, ...] = Field(min_length=2)
    combine: Literal["mean", "vote", "weighted", "stacking"] = "mean"
    weights: tuple[float, ...] | None = None
    meta: Name | None = Field(
        default=None, description="stacking: the node that takes the members' answers as its features"
    )

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        if self.combine == "weighted" and (self.weights is None or len(self.weights) != len(self.members)):
            raise ValueError("a weighted ensemble has one weight for each member")
        if (self.combine == "stacking") != (self.meta is not None):
            raise ValueError("stacking, and nothing else, names the meta node")
        return self


class ChainNode(Model):
    """The output of each step is the input of the next."""

    type: Literal["chain"] = "chain"
    steps: tuple[Name, ...] = Field(min_length=2)


class FallbackNode(Model):
    """The first of `nodes` that answers."""

    type: Literal["fallback"] = "fallback"
    nodes: tuple[Name, ...] = Field(min_length=2)


class DefaultNode(Model):
    """The same answer for every row: the end of a fallback."""

    type: Literal["default"] = "default"
    answer: int | float | str


class BanditNode(Model):
    """Arms chosen by a policy on an immutable snapshot."""

    type: Literal["bandit"] = "bandit"
    policy: Literal["thompson", "linucb", "epsilon_greedy"]
    experiment: Name
    key: str | None = None
    arms: tuple[Name, ...] = Field(min_length=2)
    epsilon: float = Field(default=0.01, ge=0.01, le=1.0)
    fallback: Name | None = None


Node = Annotated[
    ModelNode
    | RemoteNode
    | SplitNode
    | ShadowNode
    | EnsembleNode
    | ChainNode
    | FallbackNode
    | DefaultNode
    | BanditNode,
    Field(discriminator="type"),
]


def references(node: Node) -> tuple[str, ...]:
    """The nodes that `node` names."""
    match node:
        case SplitNode():
            names = [arm.node for arm in node.arms]
            return tuple(names + ([node.fallback] if node.fallback else []))
        case ShadowNode():
            return (node.primary, node.mirror)
        case EnsembleNode():
            return node.members + ((node.meta,) if node.meta else ())
        case ChainNode():
            return node.steps
        case FallbackNode():
            return node.nodes
        case BanditNode():
            return node.arms + ((node.fallback,) if node.fallback else ())
        case _:
            return ()


class InferenceGraph(Model):
    """A validated graph: every reference exists, nothing is circular."""

    api_version: Literal["maestro/v1"] = Field(default="maestro/v1", alias="apiVersion")
    kind: Literal["InferenceGraph"] = "InferenceGraph"
    metadata: GraphMetadata
    root: Name
    nodes: dict[Name, Node] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_a_graph(self) -> Self:
        if self.root not in self.nodes:
            raise ValueError(f"root {self.root!r} is not a node")
        for name, node in self.nodes.items():
            for target in references(node):
                if target not in self.nodes:
                    raise ValueError(f"node {name!r} names {target!r}, which does not exist")
        self._refuse_cycles(self.root, ())
        return self

    def _refuse_cycles(self, name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ValueError("circular: " + " → ".join((*path, name)))
        for target in references(self.nodes[name]):
            self._refuse_cycles(target, (*path, name))

    def models(self) -> dict[str, ModelNode]:
        """The model nodes by node name."""
        return {name: node for name, node in self.nodes.items() if isinstance(node, ModelNode)}
