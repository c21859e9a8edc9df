"""Model servers in a namespace of a test's own: the platform's image, homes that the test has signed, nothing of the platform touched."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from maestro.clients.home import Home
from maestro.clients.kubernetes.kubectl import Kubectl
from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.operations.platform.layout import Layout
from tests.cluster.platform_stage import ROOT, kubectl, until
from tests.node.callers import service_address

_UNPACK = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall('/var/lib/maestro', filter='data')"
_PARTS = ("trust-policy.json", "versions", "graphs")
"""In this order: a graph comes after what it names."""


class OwnServers:
    """Model servers of one namespace, a pod and a Service each."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        images = [one.reference for one in Layout(ROOT).images() if one.name.endswith("/model-server")]
        self._image = images[0]

    def start(self, name: str, home: Home, **settings: str) -> str:
        """A server with this home and these settings; its address once it answers for every graph there."""
        kubectl(
            "apply",
            "-f",
            "-",
            given=json.dumps({"apiVersion": "v1", "kind": "List", "items": self._objects(name, settings)}),
        )
        kubectl(
            "wait", "-n", self.namespace, f"pod/{name}", "--for=condition=PodReadyToStartContainers", "--timeout=60s"
        )
        until(lambda: self._runs(name), f"{name} does not run", 90)
        self.give(name, home)
        url = service_address(self.cluster, self.namespace, name)
        until(lambda: _ready(url), f"{name} is not ready", 90)
        return url

    def give(self, name: str, home: Home) -> None:
        """Bring what a home holds into the server's."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for part in _PARTS:
                archive.add(home.root / part, arcname=part)
        Kubectl().run(
            "exec", "-i", "-n", self.namespace, f"pod/{name}", "--", "python", "-c", _UNPACK, given=packed.getvalue()
        )

    def memory(self, name: str) -> float:
        """MiB that are the server's own, by the kubelet, once they stay the same."""
        found = self._measured(name)
        deadline = time.monotonic() + 60
        while True:
            time.sleep(1)
            later = self._measured(name)
            if later[0] != found[0]:
                if abs(later[1] - found[1]) < 1:
                    return later[1]
                found = later
            assert time.monotonic() < deadline, f"the kubelet tells nothing steady of {name}: {found}, {later}"

    def _measured(self, name: str) -> tuple[str, float]:
        node = self.cluster.get(Ref("v1", "Pod", name, self.namespace))["spec"]["nodeName"]
        told = json.loads(kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary"))
        for pod in told["pods"]:
            if (pod["podRef"]["namespace"], pod["podRef"]["name"]) == (self.namespace, name):
                memory = pod["containers"][0].get("memory", {})
                return str(memory.get("time")), float(memory.get("rssBytes", 0)) / 2**20
        return "", 0.0

    def _runs(self, name: str) -> bool:
        status = self.cluster.get(Ref("v1", "Pod", name, self.namespace)).get("status", {})
        return any(one.get("started") for one in status.get("containerStatuses", []))

    def _objects(self, name: str, settings: dict[str, str]) -> list[dict[str, Any]]:
        metadata = {"name": name, "namespace": self.namespace, "labels": {"app.kubernetes.io/name": name}}
        container = {
            "name": "server", "image": self._image, "imagePullPolicy": "IfNotPresent",
            "command": ["maestro", "service", "server", "--host", "0.0.0.0", "--port", "8000"],  # noqa: S104 - of the pod
            "env": [
                {"name": "MAESTRO_HOME", "value": "/var/lib/maestro"}, {"name": "MAESTRO_SERVING__AUTH", "value": "network"},
                {"name": "OMP_NUM_THREADS", "value": "1"}, {"name": "OPENBLAS_NUM_THREADS", "value": "1"},
                *({"name": key, "value": value} for key, value in settings.items()),
            ],
            "ports": [{"name": "http", "containerPort": 8000}],
            "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
            "securityContext": {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": "home", "mountPath": "/var/lib/maestro"}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - of the container
        }  # fmt: skip
        spec = {
            "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1, "containers": [container],
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [{"name": "home", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        }  # fmt: skip
        service = {"selector": metadata["labels"], "ports": [{"port": 80, "targetPort": "http"}]}
        return [
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        ]


@contextmanager
def own_servers(cluster: Cluster, namespace: str) -> Iterator[OwnServers]:
    """A namespace that goes with the block."""
    kubectl("create", "namespace", namespace)
    try:
        yield OwnServers(cluster, namespace)
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
