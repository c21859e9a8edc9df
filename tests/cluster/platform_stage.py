"""What the platform's tests need of a cluster: kubectl, volumes, definitions of optional parts, the real training operator."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from maestro.clients.kubernetes import Cluster, Ref
from maestro.operations.platform.layout import Layout

ROOT = Path(__file__).resolve().parents[2]
TRAINING = "kubeflow-training"
_CERTIFICATES = Path("/") / "tmp" / "k8s-webhook-server" / "serving-certs"
"""Where the operator looks, and nowhere else."""
_OPTIONAL = ("gateway-api", "istio-api", "trainer", "kueue")


def kubectl(*words: str, given: str | None = None, check: bool = True, **environment: str) -> str:
    """Run kubectl as a user does; its output, or with `check` off output and error."""
    done = subprocess.run(
        ["kubectl", *words], input=given, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
        env=os.environ | environment,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stderr
        return done.stdout
    return done.stdout + done.stderr


def maestro(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `maestro platform` as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "maestro", "platform", *words], capture_output=True, text=True, timeout=240, check=False,
        cwd=ROOT, env=os.environ | environment,
    )  # fmt: skip


def until(condition: Callable[[], Any], what: str, within_s: float = 60) -> Any:
    """The first true value of a condition."""
    deadline = time.monotonic() + within_s
    while True:
        if found := condition():
            return found
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def simulated(cluster: Cluster) -> bool:
    """Whether nodes are played by rules: nobody's containers run."""
    nodes = cluster.list("v1", "Node")
    return all(
        not (node["status"].get("nodeInfo") or {}).get("containerRuntimeVersion", "").startswith("containerd")
        for node in nodes
    )


def make_volumes(cluster: Cluster, count: int = 48) -> None:
    """A default class and volumes for claims, where nothing makes volumes."""
    if cluster.list("storage.k8s.io/v1", "StorageClass"):
        return
    annotation = {"storageclass.kubernetes.io/is-default-class": "true"}
    cluster.create(
        {
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "kubernetes.io/no-provisioner",
            "metadata": {"name": "by-hand", "annotations": annotation},
        }
    )  # fmt: skip
    for number in range(count):
        cluster.create(
            {
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"by-hand-{number}"},
                "spec": {
                    "capacity": {"storage": "100Gi"}, "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                    "storageClassName": "by-hand", "hostPath": {"path": f"/volumes/{number}"},
                    "persistentVolumeReclaimPolicy": "Retain",
                },
            }
        )  # fmt: skip


def install_optional(cluster: Cluster) -> set[str]:
    """The definitions of optional parts that the toolchain carries beside kubectl; the groups that are served then."""
    share = Path(shutil.which("kubectl") or "/").parent.parent / "share"
    wanted = {entry["group"] for entry in Layout(ROOT).versions()["apis"]}
    for name in _OPTIONAL:
        for path in sorted((share / name).rglob("*.y*ml")) if (share / name).is_dir() else []:
            for body in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader):
                spec = (body.get("spec") or {}) if isinstance(body, dict) else {}
                if "versions" in spec and spec.get("group") in wanted:
                    # what a webhook would convert is not asked for here
                    spec.pop("conversion", None)
                    cluster.apply(body, force=True)
    groups = cluster.connection.request("GET", "/apis", what="list the groups")["groups"]
    return {group["name"] for group in groups}


@contextmanager
def training_operator(cluster: Cluster, folder: Path) -> Iterator[None]:
    """The real operator, as our manifest starts it and with the rights of its ServiceAccount alone, beside a simulated cluster."""
    bodies = list(yaml.safe_load_all((ROOT / "infrastructure/kubernetes/training-operator.yaml").read_text()))
    ports = [free_port() for _ in range(3)]
    environment = os.environ | {
        "KUBECONFIG": str(as_account(folder, "training-operator")), "MY_POD_NAMESPACE": TRAINING, "MY_POD_NAME": "operator",
    }  # fmt: skip
    command = ["training-operator", *_arguments(bodies, folder), f"--webhook-server-port={ports[0]}",
               f"--metrics-bind-address=127.0.0.1:{ports[1]}", f"--health-probe-bind-address=127.0.0.1:{ports[2]}"]  # fmt: skip
    secret = Ref("v1", "Secret", "training-operator-webhook-cert", TRAINING)
    log = folder / "operator.log"
    with log.open("ab") as output:
        first = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            data = until(
                lambda: (found := cluster.get(secret).get("data") or {}).get("tls.crt") and found,
                f"the operator makes its certificate: {log}",
            )
        finally:
            first.kill()
            first.wait()
        shutil.rmtree(_CERTIFICATES, ignore_errors=True)
        _CERTIFICATES.mkdir(parents=True)
        for name, value in data.items():
            (_CERTIFICATES / name).write_bytes(base64.b64decode(value))
        _lead_webhooks_here(cluster, ports[0])
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        until(lambda: _answers(ports[0]) and _admits(), f"the operator's webhook answers: {log}")
        yield
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(_CERTIFICATES, ignore_errors=True)


def _arguments(bodies: list[dict[str, Any]], folder: Path) -> list[str]:
    (deployment,) = [body for body in bodies if body["kind"] == "Deployment"]
    (config,) = [body for body in bodies if body["kind"] == "ConfigMap"]
    template = folder / "initContainer.yaml"
    template.write_text(config["data"]["initContainer.yaml"])
    given: list[str] = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    path = "/etc/config/initContainer.yaml"
    assert any(path in one for one in given)
    # outside a pod there is no namespace to hold the lease in
    return [one.replace(path, str(template)) for one in given if one != "--leader-elect"]


def as_account(folder: Path, account: str, namespace: str = TRAINING) -> Path:
    """A kubeconfig by which a program acts with the rights of a ServiceAccount."""
    config = json.loads(kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    config["users"][0]["user"]["as"] = f"system:serviceaccount:{namespace}:{account}"
    path = folder / f"{account}.kubeconfig"
    path.write_text(json.dumps(config))
    return path


def _lead_webhooks_here(cluster: Cluster, port: int) -> None:
    """The API server finds the operator of this machine behind the Service, by an EndpointSlice: loopback is no address of one."""
    service = Ref("v1", "Service", "training-operator", TRAINING)
    changes: list[dict[str, Any]] = [
        {"op": "replace", "path": "/spec/ports", "value": [{"name": "here", "port": port, "targetPort": port}]}
    ]
    if "selector" in cluster.get(service)["spec"]:
        changes.append({"op": "remove", "path": "/spec/selector"})
    cluster.patch(service, changes, kind="json")
    cluster.apply(
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "training-operator-here", "namespace": TRAINING, "labels": {"kubernetes.io/service-name": service.name},
            },
            "endpoints": [{"addresses": [_own_address()], "conditions": {"ready": True}}],
            "ports": [{"name": "here", "port": port, "protocol": "TCP"}],
        },
        force=True,
    )  # fmt: skip
    ref = Ref(
        "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validator.training-operator.kubeflow.org"
    )
    changes = [
        {"op": "replace", "path": f"/webhooks/{number}/clientConfig/service/port", "value": port}
        for number in range(len(cluster.get(ref)["webhooks"]))
    ]
    cluster.patch(ref, changes, kind="json")


def _own_address() -> str:
    """An address of this machine that is not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _admits() -> bool:
    """Each kind's webhook is asked, and its certificate is trusted: they are given it one after another."""
    return all(_admitted(name) for name in ("tensorflow", "pytorch"))


def _admitted(name: str) -> bool:
    job = yaml.safe_load((ROOT / f"training/templates/{name}-training-job.yaml").read_text())
    job["metadata"]["name"] = "probe"
    return "created" in kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(job), check=False)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
