"""Kubeflow Trainer v2 and JobSet on a node: the real controllers, from the programs and manifests that lie beside kubectl; taken away again at the end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from maestro.clients.kubernetes.objects import Cluster
from tests.cluster.platform_stage import kubectl, until
from tools.images import NoEngine, build, load

TRAINER = "trainer.kubeflow.org/v1alpha1"
_CERTIFICATES = "/tmp/k8s-webhook-server/serving-certs"  # noqa: S108 - of the containers


def _overlay(resources: list[str], namespace: str, **more: Any) -> str:
    return yaml.safe_dump(
        {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": namespace, "resources": resources, **more}
    )  # fmt: skip


def _manager(image: str, **container: Any) -> dict[str, Any]:
    resources = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}
    return {"name": "manager", "image": image, "imagePullPolicy": "IfNotPresent", "resources": resources, **container}


def _patched(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    body = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"template": {"spec": spec}},
    }  # fmt: skip
    return {"patch": yaml.safe_dump(body), "target": {"kind": "Deployment"}}


def _jobset(folder: Path, image: str) -> None:
    certificate = {"name": "cert", "secret": {"secretName": "jobset-webhook-server-cert"}}
    manager = _manager(
        image, ports=[{"name": "webhook", "containerPort": 9443}],
        volumeMounts=[{"name": "cert", "mountPath": _CERTIFICATES, "readOnly": True}],
    )  # fmt: skip
    (folder / "kustomization.yaml").write_text(
        _overlay(
            ["crd/bases/jobset.x-k8s.io_jobsets.yaml", "rbac", "manager", "internalcert", "webhook"], "jobset-system",
            namePrefix="jobset-",
            patches=[_patched("jobset-controller-manager", {"containers": [manager], "volumes": [certificate]})],
        )
    )  # fmt: skip


def _trainer(folder: Path, image: str) -> None:
    own = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "trainer-system"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kubeflow-trainer-webhook-cert"}},
    ]
    (folder / "own.yaml").write_text(yaml.safe_dump_all(own))
    (folder / "kustomization.yaml").write_text(
        _overlay(
            ["own.yaml", "crds", "manager", "rbac", "webhook"], "trainer-system",
            patches=[_patched("kubeflow-trainer-controller-manager", {"containers": [_manager(image)]})],
        )
    )  # fmt: skip


PARTS = {
    "jobset": ("jobset-controller", "jobset-system", "jobset-controller-manager", _jobset),
    "trainer": ("trainer-controller-manager", "trainer-system", "kubeflow-trainer-controller-manager", _trainer),
}
"""Folder beside kubectl to program, namespace, Deployment and what writes its overlay; in the order of installation."""


@contextmanager
def trainer_stage(cluster: Cluster, folder: Path) -> Iterator[None]:
    """Both controllers ready; a cluster that has TrainJobs is taken as it is. What the block made of their kinds has to be gone at its end: they hold finalizers."""
    if "TrainJob" in cluster.kinds(TRAINER, fresh=True):
        yield
        return
    share = Path(shutil.which("kubectl") or "/").parent.parent / "share"
    if missing := [program for program, *_ in PARTS.values() if shutil.which(program) is None]:
        pytest.skip(f"no Trainer v2 here: {', '.join(missing)} not on PATH")
    if missing := [part for part in PARTS if not (share / part).is_dir()]:
        pytest.skip(f"no Trainer v2 here: no manifests of {', '.join(missing)} beside kubectl")
    for part, (program, _, _, write) in PARTS.items():
        image = f"localhost/stand-in/{program}:test"
        try:
            _image(image, program, folder / f"{part}-image")
        except NoEngine as error:
            pytest.skip(f"no Trainer v2 here: {error}")
        shutil.copytree(share / part, folder / part)
        write(folder / part, image)
    try:
        for part, (_, namespace, deployment, _) in PARTS.items():
            kubectl("apply", "--server-side", "--force-conflicts", "-k", str(folder / part))
            # its certificates reach the pod when the kubelet next looks at it, up to two minutes after they are made
            until(partial(_is_ready, namespace, deployment), f"{deployment} is not ready", 240)
        until(lambda: "TrainJob" in cluster.kinds(TRAINER, fresh=True), "no kind TrainJob", 30)
        yield
    finally:
        for part in reversed(PARTS):
            kubectl("delete", "-k", str(folder / part), "--ignore-not-found", "--timeout=60s", check=False)


def _is_ready(namespace: str, deployment: str) -> bool:
    ready = kubectl("get", "deploy", "-n", namespace, deployment, "-o", "jsonpath={.status.readyReplicas}")
    return ready == "1"


def _image(reference: str, program: str, context: Path) -> None:
    context.mkdir()
    shutil.copy2(str(shutil.which(program)), context / program)
    (context / "Dockerfile").write_text(
        f'FROM scratch\nCOPY {program} /manager\nUSER 65532:65532\nENTRYPOINT ["/manager"]\n'
    )
    build(reference, context / "Dockerfile", context)
    load(reference)
