"""The inference graph in a ConfigMap: read, and written by compare-and-swap on both its revisions."""

from __future__ import annotations

import yaml

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.errors import BadInput, Conflict
from maestro.core.graph import InferenceGraph
from maestro.serving.graph_file import parse_graph

KEY = "graph.yaml"
SAMPLE = "sample"
"""The model of the graph that the manifests bring: it gives way to the first model that is rolled out."""


class GraphMap:
    """The key `graph.yaml` of one ConfigMap."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, model: str) -> None:
        self._cluster = cluster
        self._ref = Ref("v1", "ConfigMap", name, namespace)
        self._model = model

    def read(self) -> InferenceGraph | None:
        """The graph; None when there is none yet.

        Raises:
            BadInput: it is no graph, or another model's.
        """
        return self._look()[0]

    def write(self, graph: InferenceGraph, expected_revision: int | None) -> None:
        """Replace it.

        Raises:
            Conflict: it is at another revision, or somebody wrote in the same moment.
        """
        current, version = self._look()
        if current == graph:
            return
        revision = None if current is None else current.metadata.revision
        if revision != expected_revision:
            raise self._conflict(revision, expected_revision)
        data = {KEY: yaml.safe_dump(graph.document(), sort_keys=False, allow_unicode=True)}
        try:
            if version is None:
                self._cluster.create(
                    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": self._metadata(), "data": data}
                )
            else:
                self._cluster.patch(self._ref, {"metadata": {"resourceVersion": version}, "data": data})
        except Conflict:
            found = self._look()[0]
            if found != graph:  # it is ours when an answer was lost and the request made again
                raise self._conflict(None if found is None else found.metadata.revision, expected_revision) from None

    def _look(self) -> tuple[InferenceGraph | None, str | None]:
        found = self._cluster.find(self._ref)
        if found is None:
            return None, None
        version = str(found["metadata"]["resourceVersion"])
        text = (found.get("data") or {}).get(KEY)
        if not text:
            return None, version
        graph = parse_graph(text.encode(), f"{self._ref} key {KEY}")
        if graph.metadata.name == SAMPLE != self._model:
            return None, version
        if graph.metadata.name != self._model:
            raise BadInput(
                f"{self._ref} holds the graph of {graph.metadata.name!r}, not of {self._model!r}", field="metadata.name",
                remedy="name another ConfigMap: MAESTRO_CLUSTER__SERVING__GRAPH",
            )  # fmt: skip
        return graph, version

    def _metadata(self) -> dict[str, object]:
        labels = {"app.kubernetes.io/part-of": "maestro-ml", "app.kubernetes.io/managed-by": "maestro"}
        return {"name": self._ref.name, "namespace": self._ref.namespace, "labels": labels}

    def _conflict(self, revision: int | None, expected: int | None) -> Conflict:
        return Conflict(
            f"the graph of {self._model} in {self._ref} is at revision {revision}, expected {expected}",
            field="metadata.revision", remedy="read it again and decide again", revision=revision,
        )  # fmt: skip


def graph_name(cluster: Cluster, namespace: str, name: str) -> str | None:
    """The model whose graph a ConfigMap holds; None when there is none that can be read."""
    found = cluster.find(Ref("v1", "ConfigMap", name, namespace))
    text = ((found or {}).get("data") or {}).get(KEY)
    if not text:
        return None
    try:
        return parse_graph(text.encode(), KEY).metadata.name
    except BadInput:
        return None
