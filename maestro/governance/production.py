"""Which version has a model's production traffic, by the graph and by nothing else."""

from __future__ import annotations

from maestro.core.graph import InferenceGraph, ModelNode, ShadowNode, SplitNode


def production_node(graph: InferenceGraph) -> ModelNode | None:
    """The version that answers when everything else fails: the root's, its split's fallback, its shadow's primary.

    None for graphs that have no such one version (ensembles, chains, remote nodes).
    """
    node = graph.nodes[graph.root]
    seen = {graph.root}
    while True:
        match node:
            case ModelNode():
                return node
            case SplitNode(fallback=str(name)) | ShadowNode(primary=name):
                pass
            case _:
                return None
        if name in seen:
            return None
        seen.add(name)
        node = graph.nodes[name]
