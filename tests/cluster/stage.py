"""Slots, Services and a route in a namespace, as `ab-testing/` has them, for pods that need not run anything."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import yaml

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.clock import ManualClock
from maestro.core.cluster import ClusterServing
from maestro.core.graph import ShadowNode
from maestro.core.seams import Reading
from maestro.serving.targets.selector import SLOT
from tests.governance.conftest import DrawnSource

ROUTE = "gateway.networking.k8s.io/v1"


class PacedClock:
    """Dates of a manual clock, pauses of the real one: what a cluster does takes real time."""

    def __init__(self, clock: ManualClock) -> None:
        self.now = clock.now

    def monotonic(self) -> float:
        """Real seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Really, and briefly."""
        time.sleep(min(seconds, 0.1))


def install_gateway(cluster: Cluster) -> str:
    """Make sure of HTTPRoute; why it cannot be, or nothing."""
    if "HTTPRoute" in cluster.kinds(ROUTE, fresh=True):
        return ""
    kubectl = shutil.which("kubectl")
    share = Path(kubectl or "/").parent.parent / "share/gateway-api/gateway.networking.k8s.io_httproutes.yaml"
    if not share.exists():
        return "the cluster has no Gateway API, and its definitions are not beside kubectl"
    cluster.apply(yaml.safe_load(share.read_text()), force=True)
    deadline = time.monotonic() + 30
    while "HTTPRoute" not in cluster.kinds(ROUTE, fresh=True):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return ""


def serving(namespace: str, traffic: str) -> ClusterServing:
    """The options of a stage."""
    return ClusterServing.model_validate({"namespace": namespace, "traffic": traffic, "replicas": 2})


def set_up(cluster: Cluster, namespace: str) -> None:
    """Deployments of no replicas, their Services, the Service that callers reach, the route."""
    for slot in ("champion", "challenger"):
        cluster.create(deployment(namespace, slot))
        cluster.create(service(namespace, f"model-{slot}", {"app": "model", SLOT: slot}))
    cluster.create(service(namespace, "mlflow-model-server", {"app": "model", SLOT: "champion"}))
    if "HTTPRoute" in cluster.kinds(ROUTE):
        cluster.create(route(namespace))


def deployment(namespace: str, slot: str) -> dict[str, Any]:
    """A slot, of no replicas yet."""
    labels = {"app": "model", SLOT: slot}
    container = {
        "name": "server", "image": "localhost/none:1", "volumeMounts": [{"name": "graph", "mountPath": "/graphs"}],
        "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip
    pod = {
        "containers": [container], "volumes": [{"name": "graph", "configMap": {"name": "none", "optional": True}}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": f"model-{slot}", "namespace": namespace},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        },
    }  # fmt: skip


def service(namespace: str, name: str, selector: dict[str, str]) -> dict[str, Any]:
    """A Service."""
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }  # fmt: skip


def route(namespace: str) -> dict[str, Any]:
    """An HTTPRoute whose rule also has a filter of somebody else's."""
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": [{"name": "x", "value": "y"}]}}],
        "backendRefs": [{"name": "model-champion", "port": 80, "weight": 1}, {"name": "model-challenger", "port": 80, "weight": 0}],
    }  # fmt: skip
    return {
        "apiVersion": ROUTE, "kind": "HTTPRoute", "metadata": {"name": "mlflow-model-server", "namespace": namespace},
        "spec": {"parentRefs": [{"name": "gateway"}], "rules": [rule]},
    }  # fmt: skip


def versions_serving(cluster: Cluster, namespace: str, slot: str) -> list[str]:
    """The versions of a slot's pods that are ready."""
    pods = cluster.list("v1", "Pod", namespace, labels={SLOT: slot})
    return sorted(
        pod["metadata"]["annotations"].get("maestro.dev/version", "")
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        and any(item["type"] == "Ready" and item["status"] == "True" for item in pod["status"].get("conditions", []))
    )


def route_weights(cluster: Cluster, namespace: str) -> dict[str, int]:
    """The weights of the route by Service."""
    found = cluster.get(Ref(ROUTE, "HTTPRoute", "mlflow-model-server", namespace))
    return {item["name"]: item["weight"] for item in found["spec"]["rules"][0]["backendRefs"]}


class MirroredSource(DrawnSource):
    """Also draws for a mirror, which gets a copy of what the champion answers."""

    def read(self, model: str, label_wait_s: float) -> Reading:
        """As if both arms had half of the traffic."""
        graph = self.target(model).read()
        assert graph is not None
        root = graph.nodes[graph.root]
        if not isinstance(root, ShadowNode):
            return super().read(model, label_wait_s)
        names = (root.primary, root.mirror)
        arms = {name: self._drawn(graph, name, graph.models()[name], 0.5) for name in names}
        arms = {name: arm.model_copy(update={"entered": 0}) for name, arm in arms.items()}
        return Reading(at=self.clock.now(), epoch=self.epoch, revision=graph.metadata.revision, arms=arms)
