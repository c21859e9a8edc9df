"""The small platform on a node: applied as a user applies it, waited for, and what could not start told apart from what did not."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from maestro.clients.kubernetes.objects import Cluster
from maestro.operations.platform.layout import Layout
from maestro.operations.platform.readiness import readiness
from tests.cluster.platform_stage import ROOT, kubectl, maestro
from tests.node.stand_ins.catalogue import NO_PROGRAM

NAMESPACES = ("ml-platform", "kubeflow-training", "ml-serving", "ml-training", "observability")
NEEDED = ("control-plane", "worker", "model-server", "training", "training-pytorch", "training-tensorflow", "mlflow")
"""Images of ours without which there is nothing to test; the workloads of the others are told as left out where theirs was not built."""
_KINDS = (("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"))
_PULL = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"}
WITHIN_S = 900.0


@dataclass
class Installation:
    """What stands: every workload with the seconds after which it was ready, and those whose image cannot be had here."""

    ready: dict[str, float] = field(default_factory=dict)
    no_image: dict[str, str] = field(default_factory=dict)


def missing_images(cluster: Cluster) -> list[str]:
    """The images of ours that are needed and that no node has."""
    wanted = [
        one for one in Layout(ROOT).images() if one.built and one.name.endswith(tuple(f"/{name}" for name in NEEDED))
    ]
    return [one.reference for one in wanted if one.reference not in _on_nodes(cluster)]


def _on_nodes(cluster: Cluster) -> set[str]:
    nodes = cluster.list("v1", "Node")
    return {name for node in nodes for image in node["status"].get("images", []) for name in image.get("names") or ()}


def install(cluster: Cluster) -> Installation:
    """Apply the three steps of infrastructure/README.md; wait until everything that can start has."""
    began = time.monotonic()
    kubectl("apply", "-f", "infrastructure/kubernetes/namespaces.yaml")
    made = maestro("secrets", "--json")
    assert made.returncode == 0, made.stderr
    kubectl("apply", "--server-side", "--force-conflicts", "-k", "infrastructure/minikube")
    found = Installation()
    while True:
        waiting: dict[str, str] = {}
        for body in workloads(cluster):
            name = f"{body['kind']}/{body['metadata']['name']}"
            state = readiness(body)
            if state.ready:
                found.ready.setdefault(name, time.monotonic() - began)
            elif image := _cannot_be_pulled(cluster, body):
                found.no_image[name] = image
            else:
                waiting[name] = state.why
        if not waiting:
            return found
        assert time.monotonic() - began < WITHIN_S, waiting
        time.sleep(1)


def workloads(cluster: Cluster) -> list[dict[str, Any]]:
    """Every Deployment and StatefulSet of the platform."""
    return [
        body
        for namespace in NAMESPACES
        for version, kind in _KINDS
        for body in cluster.list(version, kind, namespace, labels={"app.kubernetes.io/part-of": "maestro-ml"})
    ]


def _cannot_be_pulled(cluster: Cluster, body: dict[str, Any]) -> str:
    """The image that a workload's pods wait for, where nothing here can stand in for it or it was not built."""
    labels = ",".join(f"{name}={value}" for name, value in body["spec"]["selector"]["matchLabels"].items())
    for pod in cluster.list("v1", "Pod", body["metadata"]["namespace"], labels=labels):
        status = pod.get("status", {})
        for one in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
            reason = (one.get("state", {}).get("waiting") or {}).get("reason")
            name = str(one["image"]).rpartition(":")[0]
            if reason in _PULL and (name in NO_PROGRAM or one["image"] not in _on_nodes(cluster)):
                return name
    return ""
