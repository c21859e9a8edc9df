"""The inference graph as it runs: one node type a file, built from the document that pins it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maestro.core.errors import BadInput
from maestro.core.graph import (
    BanditNode,
    ChainNode,
    DefaultNode,
    EnsembleNode,
    FallbackNode,
    InferenceGraph,
    ShadowNode,
    SplitNode,
    references,
)
from maestro.serving.graph._base import Build, GraphNode
from maestro.serving.graph.arm import Arm
from maestro.serving.graph.chain import ChainRunner
from maestro.serving.graph.default import DefaultRunner
from maestro.serving.graph.ensemble import EnsembleRunner
from maestro.serving.graph.fallback import FallbackRunner
from maestro.serving.graph.shadow import ShadowRunner
from maestro.serving.graph.split import SplitRunner

if TYPE_CHECKING:
    from maestro.serving.graph.bandit import BanditRunner

__all__ = ["arm_names", "build_graph"]


def build_graph(build: Build) -> GraphNode:
    """The root of a running graph.

    Raises:
        BadInput: a node of a kind that this server cannot run; contracts of a split's arms that break each other.
    """
    arms = set(arm_names(build.graph))

    def make(name: str, build: Build) -> GraphNode:
        node = _make(name, build)
        if name in arms:
            metadata = build.graph.metadata
            return Arm(metadata.name, metadata.revision, node, build.metrics, build.observe, build.sampler)
        return node

    build.make = make
    return build.node(build.graph.root)


def arm_names(graph: InferenceGraph, name: str | None = None) -> tuple[str, ...]:
    """The outermost nodes below splits, bandits and shadows, from the root down: what metrics, exposures and evidence call an arm."""
    name = graph.root if name is None else name
    match graph.nodes[name]:
        case SplitNode() as split:
            below = [arm_names(graph, arm.node) for arm in split.arms]
            if split.fallback:
                below.append(arm_names(graph, split.fallback))
        case BanditNode() as bandit:
            below = [arm_names(graph, arm) for arm in references(bandit)]
        case ShadowNode() as shadow:
            below = [arm_names(graph, shadow.primary), arm_names(graph, shadow.mirror)]
        case _:
            return (name,)
    return tuple(dict.fromkeys(arm for names in below for arm in names))


def _make(name: str, build: Build) -> GraphNode:
    match build.graph.nodes[name]:
        case SplitNode() as split:
            runner = SplitRunner(name, split, build)
            _refuse_breaks(name, runner)
            return runner
        case ShadowNode() as shadow:
            return ShadowRunner(name, shadow, build)
        case EnsembleNode() as ensemble:
            return EnsembleRunner(name, ensemble, build)
        case ChainNode() as chain:
            return ChainRunner(name, chain, build)
        case FallbackNode() as fallback:
            return FallbackRunner(name, fallback, build)
        case DefaultNode() as default:
            return DefaultRunner(name, default)
        case BanditNode() as bandit:
            from maestro.serving.graph.bandit import (
                BanditRunner,  # policies need a library that most graphs have no use for
            )

            chooser = BanditRunner(name, bandit, build)
            _refuse_breaks(name, chooser)
            return chooser
        case _:
            return build.leaf(name)


def _refuse_breaks(name: str, runner: SplitRunner | BanditRunner) -> None:
    promised = runner.promised
    for arm, contract in runner.arm_contracts():
        if promised is not None and promised.breaks(contract):
            raise BadInput(
                f"node {name!r}: the contract of arm {arm!r} breaks the one that callers rely on (features, order, output or entity keys differ)",
                field=f"nodes.{name}.arms",
                remedy="give a version with another contract a graph of its own",
            )
