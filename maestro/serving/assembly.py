"""A revision put together from a graph's document and the versions that it pins."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from maestro.core.graph import InferenceGraph, ModelNode, RemoteNode
from maestro.serving.breaker import CircuitBreaker
from maestro.serving.graph import arm_names, build_graph
from maestro.serving.graph._base import Build, GraphNode, Observation
from maestro.serving.graph.model import ModelNodeRunner
from maestro.serving.graph.remote import RemoteRunner
from maestro.serving.graph.remote_http import RemoteClient
from maestro.serving.loaded import LoadedVersion
from maestro.serving.metrics import ServerMetrics
from maestro.serving.sampling import Sampler
from maestro.serving.served import ServedGraph

if TYPE_CHECKING:
    from maestro.security.statements import Purpose
    from maestro.serving.policies import Policies

Observer = Callable[[str, Observation], None]
Spawn = Callable[[Coroutine[Any, Any, None]], None]


def assemble(
    graph: InferenceGraph,
    content: str,
    versions: Mapping[str, LoadedVersion],
    wanted: Mapping[str, Purpose],
    *,
    metrics: ServerMetrics,
    observe: Observer,
    spawn: Spawn,
    client: RemoteClient,
    policies: Policies | None,
    breaker: Callable[[str], CircuitBreaker],
    sampler: Sampler | None,
) -> ServedGraph:
    """A revision that is ready to answer.

    Args:
        content: the digest of the graph file's bytes.
        versions: by model node, loaded and warm.
        wanted: what each model node is there for.
        observe: called with each first attempt of an arm.
        spawn: starts work that nobody waits for.
        client: asks remote nodes.
        breaker: the circuit breaker of a remote node, by its address.
        sampler: takes some of the rows and answers of each arm.

    Raises:
        BadInput: a node of a kind that cannot run here; contracts of a split's arms that break each other.
    """
    holder: list[ServedGraph] = []
    model = graph.metadata.name

    def leaf(name: str) -> GraphNode:
        node = graph.nodes[name]
        if isinstance(node, ModelNode):
            return ModelNodeRunner(name, versions[name], node.timeout_ms / 1000, metrics)
        assert isinstance(node, RemoteNode)  # noqa: S101 - the two kinds of leaf
        return RemoteRunner(name, node.url, node.timeout_ms / 1000, client, breaker(node.url))

    build = Build(
        graph,
        metrics,
        leaf,
        lambda seen: observe(model, seen),
        lambda work: spawn(_held(holder[0], work)),
        policies=policies,
        sampler=sampler,
    )
    root = build_graph(build)
    arms = tuple((name, build.nodes[name].version) for name in arm_names(graph))
    served = ServedGraph(graph, content, root, build.nodes, versions, wanted, arms)
    holder.append(served)
    return served


async def _held(served: ServedGraph, work: Coroutine[Any, Any, None]) -> None:
    served.inflight += 1
    try:
        await work
    finally:
        served.inflight -= 1
