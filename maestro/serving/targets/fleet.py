"""The two slots as Deployments: which version each is to serve, and whether all its pods do.

A slot's pods read the graph of a ConfigMap whose name ends in the digest of its content, mounted as the volume `graph`: pods of another version are other
pods, started beside the old and ready before these end. The challenger's graph answers from the champion's Service when the challenger fails.
"""

from __future__ import annotations

from typing import Any

import yaml

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.clients.kubernetes.pods import HOPELESS, first_waiting
from maestro.core.canonical import digest
from maestro.core.cluster import ClusterServing
from maestro.core.errors import Conflict, Refused
from maestro.core.graph import FULL_WEIGHT, Arm, GraphMetadata, InferenceGraph, ModelNode, Node, RemoteNode, SplitNode
from maestro.serving.targets.plan import Slot, SlotName
from maestro.serving.targets.selector import SLOT

VERSION = "maestro.dev/version"
DIGEST = "maestro.dev/digest"
VOLUME = "graph"


class Fleet:
    """The Deployments of the slots."""

    def __init__(self, cluster: Cluster, options: ClusterServing, model: str) -> None:
        self._cluster = cluster
        self._options = options
        self._model = model

    def see(self, slot: SlotName) -> Slot:
        """One slot as it is.

        Raises:
            NotFound: the Deployment is not there.
        """
        found = self._cluster.get(self._ref(slot))
        annotations = found["spec"]["template"]["metadata"].get("annotations") or {}
        return Slot(
            version=annotations.get(VERSION),
            digest=annotations.get(DIGEST),
            replicas=int(found["spec"].get("replicas", 1)),
            ready=_is_ready(found),
        )

    def served(self, slot: SlotName) -> ModelNode | None:
        """What a slot serves."""
        seen = self.see(slot)
        if seen.version is None or seen.digest is None or seen.replicas == 0:
            return None
        return ModelNode(model=self._model, version=seen.version, digest=seen.digest)

    def place(self, slot: SlotName, node: ModelNode) -> None:
        """Give a slot a version and its pods; repeating it changes nothing."""
        graph = self.slot_graph(slot, node)
        name = f"{self._ref(slot).name}-{digest(graph.document())[7:19]}"
        self._keep_graph(slot, name, graph)
        template = {
            "metadata": {"labels": {SLOT: slot}, "annotations": {VERSION: node.version, DIGEST: node.digest}},
            "spec": {"volumes": [{"name": VOLUME, "configMap": {"name": name}}]},
        }
        change = {"spec": {"replicas": self._options.replicas, "template": template}}
        self._cluster.patch(self._ref(slot), change, kind="strategic")
        self._drop_graphs(slot, name)

    def retire(self, slot: SlotName) -> None:
        """No pods."""
        self._cluster.patch(self._ref(slot), {"spec": {"replicas": 0}})

    def trouble(self, slot: SlotName) -> str:
        """Why a slot's pods are not ready, in words; nothing when they may still become so.

        Raises:
            Refused: they never will without a change.
        """
        deployment = self._cluster.get(self._ref(slot))
        labels = ",".join(f"{name}={value}" for name, value in deployment["spec"]["selector"]["matchLabels"].items())
        why = first_waiting(self._cluster.list("v1", "Pod", self._options.namespace, labels=labels))
        for condition in (deployment.get("status") or {}).get("conditions", []):
            if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
                said = why[1] if why else condition["message"]
                raise Refused(
                    f"the pods of Deployment {self._ref(slot).name} do not become ready: {said}",
                    remedy=f"see kubectl -n {self._options.namespace} describe deployment {self._ref(slot).name}",
                )
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                return f"Deployment {self._ref(slot).name}: {condition['message']}"
        if why is None:
            return f"the pods of {self._ref(slot).name} are not all ready"
        return f"{self._ref(slot).name}: {why[1]}" + (" (it does not pass by waiting)" if why[0] in HOPELESS else "")

    def slot_graph(self, slot: SlotName, node: ModelNode) -> InferenceGraph:
        """What a slot's servers serve: its version alone; a challenger is a candidate, with the champion behind it."""
        nodes: dict[str, Node] = {slot: node}
        root: str = slot
        if slot == "challenger":
            url = f"http://{self._options.champion}.{self._options.namespace}/v2/models/{self._model}"
            nodes["champion"] = RemoteNode(url=url)
            arms = (Arm(node="challenger", weight=FULL_WEIGHT),)
            nodes["slot"] = SplitNode(arms=arms, fallback="champion")
            root = "slot"
        return InferenceGraph(metadata=GraphMetadata(name=self._model, revision=1), root=root, nodes=nodes)

    def _ref(self, slot: SlotName) -> Ref:
        name = self._options.champion if slot == "champion" else self._options.challenger
        return Ref("apps/v1", "Deployment", name, self._options.namespace)

    def _keep_graph(self, slot: SlotName, name: str, graph: InferenceGraph) -> None:
        document = {
            "apiVersion": "v1", "kind": "ConfigMap", "immutable": True,
            "metadata": {"name": name, "namespace": self._options.namespace, "labels": self._labels(slot)},
            "data": {f"{self._model}.yaml": yaml.safe_dump(graph.document(), sort_keys=False)},
        }  # fmt: skip
        try:
            self._cluster.create(document)
        except Conflict as conflict:
            if conflict.extra.get("reason") != "AlreadyExists":
                raise

    def _drop_graphs(self, slot: SlotName, keep: str) -> None:
        """Graphs of versions long gone; those of the last two stay, since old pods may still read one."""
        found = self._cluster.list("v1", "ConfigMap", self._options.namespace, labels=self._labels(slot))
        newest = sorted(found, key=lambda item: str(item["metadata"]["creationTimestamp"]))
        for item in newest[:-3]:
            if item["metadata"]["name"] != keep:
                self._cluster.delete(Ref.of(item))

    def _labels(self, slot: SlotName) -> dict[str, str]:
        return {"app.kubernetes.io/managed-by": "maestro", "app.kubernetes.io/part-of": "maestro-ml", SLOT: slot}


def _is_ready(deployment: dict[str, Any]) -> bool:
    """Whether the controller has seen the present template, and every pod that is wanted is of it, ready, and the only one."""
    wanted = int(deployment["spec"].get("replicas", 1))
    status = deployment.get("status") or {}
    return (
        wanted > 0
        and status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("availableReplicas", 0) >= wanted
        and status.get("replicas", 0) == wanted
        and not status.get("unavailableReplicas", 0)
    )
