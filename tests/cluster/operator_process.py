"""The real training operator of PATH, run beside the cluster that KUBECONFIG names, for one namespace."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from maestro.clients.kubernetes.objects import Cluster, Ref

ROOT = Path(__file__).parents[2]
_CERTS = Path("/tmp/k8s-webhook-server/serving-certs")  # noqa: S108 - where the operator looks, and nowhere else
_SECRET = "training-operator-webhook-cert"


def missing() -> str:
    """Why the operator cannot be run, or nothing."""
    return "" if shutil.which("training-operator") else "no training-operator on PATH"


def install_definitions(cluster: Cluster) -> None:
    """Our own definitions of the operator's kinds."""
    kinds = []
    for document in yaml.safe_load_all((ROOT / "infrastructure/kubernetes/training-operator.yaml").read_text()):
        if document and document["kind"] == "CustomResourceDefinition":
            cluster.apply(document, force=True)
            kinds.append(document["spec"]["names"]["kind"])
    deadline = time.monotonic() + 30
    while not set(kinds) <= set(cluster.kinds("kubeflow.org/v1", fresh=True)):
        assert time.monotonic() < deadline, "the definitions were not taken"
        time.sleep(0.2)


@contextmanager
def operator(cluster: Cluster, namespace: str, log: Path) -> Iterator[None]:
    """Run it for as long as the block lasts."""
    install_definitions(cluster)
    secret = Ref("v1", "Secret", _SECRET, namespace)
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret.name, "namespace": namespace}})
    ports = [_free_port() for _ in range(3)]
    command = [
        "training-operator", f"--namespace={namespace}", f"--webhook-server-port={ports[0]}",
        f"--metrics-bind-address=127.0.0.1:{ports[1]}", f"--health-probe-bind-address=127.0.0.1:{ports[2]}",
        "--pytorch-init-container-image=localhost/none:1",
        f"--pytorch-init-container-template-file={_init_container(log.parent)}", "--zap-devel=false",
    ]  # fmt: skip
    environment = os.environ | {"MY_POD_NAMESPACE": namespace, "MY_POD_NAME": "operator"}
    with log.open("ab") as output:
        if not (_CERTS / "tls.crt").exists():
            # the first start makes the certificate, which it finds when it is started again
            first = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
            deadline = time.monotonic() + 30
            while not (data := cluster.get(secret).get("data") or {}).get("tls.crt"):
                assert time.monotonic() < deadline, log.read_text()[-2000:]
                time.sleep(0.2)
            first.kill()
            first.wait()
            _CERTS.mkdir(parents=True, exist_ok=True)
            for name, value in data.items():
                (_CERTS / name).write_bytes(base64.b64decode(value))
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _init_container(folder: Path) -> Path:
    """What a PyTorch worker waits for its master with, under Pod Security `restricted`."""
    container = {
        "name": "init-pytorch",
        "image": "{{.InitContainerImage}}",
        "command": ["sh", "-c", "until nslookup {{.MasterAddr}}; do sleep 1; done"],
        "securityContext": {
            "allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "resources": {"limits": {"cpu": "100m", "memory": "20Mi"}, "requests": {"cpu": "50m", "memory": "10Mi"}},
    }  # fmt: skip
    path = folder / "initContainer.yaml"
    path.write_text(yaml.safe_dump([container]))
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
