"""Every file as a user applies it: alone, twice, and in every overlay; what is not right is refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pytest
import yaml
from _pytest.mark import ParameterSet

from maestro.clients.kubernetes import Cluster
from tests.cluster.platform_stage import ROOT, install_optional, kubectl, maestro, make_volumes, simulated, until
from tests.manifests.objects import manifests
from tests.manifests.overlays import COMPONENTS, with_component

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

FIRST = ("infrastructure/kubernetes/namespaces.yaml", "infrastructure/kubernetes/training-operator.yaml")
FILES = sorted({one.path.as_posix() for one in manifests()} - set(FIRST))
RESTRICTED = {"securityContext": {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}}
BOX = {
    "name": "box", "image": "localhost/none:1",
    "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"cpu": "10m", "memory": "8Mi"}},
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}  # fmt: skip
OPTIONAL = ("infrastructure/components", "security/istio", "training/templates/trainer")
SHOWS = {
    "observability/jaeger": ("J4", "J6", "J7"), "monitoring/loki": ("J5",), "monitoring/prometheus": ("J1", "J3"),
    "monitoring/grafana": ("J2", "I12", "B13"), "monitoring/drift": ("I5",), "serving/autoscaling/": ("G13",),
    "operations/backup": ("L9",), "training/templates/": ("B2",), "training/examples/": ("B3",),
}  # fmt: skip
"""What a file alone promises, beside what every file does."""
MAY_LACK = ("ray/", "kueue/", "trainer/", "trainer-training-job")
"""Parts of paths whose definitions a toolchain may lack: a test that is skipped shows nothing, so these promise nothing."""


EVIDENCE = {
    name
    for path in (ROOT / "security/compliance").glob("*.yaml")
    for control in yaml.safe_load(path.read_text())["controls"]
    for name in control["evidence"]
}
"""What the compliance maps point to."""


def cases() -> Iterator[ParameterSet]:
    """Every file, with what it shows."""
    for path in FILES:
        own = [name for start, ids in SHOWS.items() if path.startswith(start) for name in ids]
        ids = ["N1", "K4", *own, *(["K6"] if path in EVIDENCE else [])]
        marks = [pytest.mark.shows(*ids, env="cluster", accepted="a container runtime")]
        yield pytest.param(path, marks=[] if any(part in path for part in MAY_LACK) else marks)


@pytest.fixture(scope="module", autouse=True)
def _stage(cluster: Cluster) -> None:
    """Steps 0 and 1 of the guide, and the kinds of the jobs; no webhook, since nobody answers it here."""
    install_optional(cluster)
    kubectl("apply", "-f", FIRST[0])
    done = maestro("secrets")
    assert done.returncode == 0, done.stderr
    kubectl("apply", "-f", FIRST[1])
    if simulated(cluster):
        make_volumes(cluster)
        kubectl("delete", "validatingwebhookconfiguration", "validator.training-operator.kubeflow.org")


def served(cluster: Cluster, path: str) -> bool:
    bodies = [body for body in yaml.load_all((ROOT / path).read_text(), Loader=yaml.CSafeLoader) if body]
    return all(body["kind"] in cluster.kinds(body["apiVersion"], fresh=True) for body in bodies)


def substance(path: str) -> dict[str, object]:
    """What the objects of a file say, without status and bookkeeping."""
    found = json.loads(kubectl("get", "-f", path, "-o", "json"))
    for body in found.get("items", [found]):
        if body["kind"] == "PersistentVolumeClaim":
            body["spec"].pop("volumeName", None)  # written by the binder, whenever it comes to it
    return {
        f"{body['kind']}/{body['metadata']['name']}": {
            name: value for name, value in body.items() if name not in {"metadata", "status", "subsets"}
        }
        for body in found.get("items", [found])
    }


@pytest.mark.door
@pytest.mark.parametrize("path", list(cases()))
def test_a_file_works_alone_and_the_second_time_changes_nothing(cluster: Cluster, path: str) -> None:
    if path.startswith(OPTIONAL) and not served(cluster, path):
        pytest.skip("the definitions of an optional part are not in the toolchain")
    kubectl("apply", "-f", path)
    before = substance(path)
    kubectl("apply", "-f", path)
    # kubectl's own word is no measure: it says `configured` where defaults stand in lists
    assert substance(path) == before
    kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=files", "-f", path)
    if path.startswith("security/signature-policy"):
        # it is in force at once: every image of these tests is without digest
        pod = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "unpinned", "namespace": "ml-serving"},
            "spec": RESTRICTED | {"containers": [BOX]},
        }  # fmt: skip
        until(
            lambda: (
                "not pinned by digest"
                in kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(pod), check=False)
            ),
            "an image without digest is refused",
        )
        kubectl("delete", "-f", path)


@pytest.mark.parametrize("name", COMPONENTS)
def test_production_with_each_optional_part_is_accepted(cluster: Cluster, name: str) -> None:
    bodies = list(with_component(name))
    if not all(body["kind"] in cluster.kinds(body["apiVersion"], fresh=True) for body in bodies):
        pytest.skip("the definitions of an optional part are not in the toolchain")
    listing = json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies})
    out = kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", given=listing)
    assert len(out.splitlines()) == len(bodies)


def _has_pods(cluster: Cluster, namespace: str, selector: str, wanted: int) -> bool:
    return len(cluster.list("v1", "Pod", namespace, labels=selector)) >= wanted


@pytest.mark.shows("K10", "K4", env="cluster", accepted="a container runtime")
def test_pod_security_admits_every_workload(cluster: Cluster) -> None:
    def refused() -> list[str]:
        return [
            f"{one['involvedObject']['name']}: {one['message']}"
            for one in cluster.list("v1", "Event")
            if "violates PodSecurity" in one.get("message", "")
        ]

    for kind in ("Deployment", "StatefulSet"):
        for one in cluster.list("apps/v1", kind, labels="app.kubernetes.io/part-of=maestro-ml"):
            selector = ",".join(f"{key}={value}" for key, value in one["spec"]["selector"]["matchLabels"].items())
            wanted, name = one["spec"].get("replicas", 1), one["metadata"]["name"]
            namespace = one["metadata"]["namespace"]
            until(
                partial(_has_pods, cluster, namespace, selector, wanted), f"{name} has its pods; refused: {refused()}"
            )
    assert refused() == []


@pytest.mark.shows("K10", env="cluster")
@pytest.mark.parametrize(
    "namespace", ["ml-platform", "kubeflow-training", "ml-serving", "ml-training", "observability", "vault"]
)
def test_a_pod_that_is_not_restricted_is_refused(namespace: str) -> None:
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "open", "namespace": namespace},
        "spec": {"containers": [{"name": "open", "image": "x", "resources": {"limits": {"cpu": "10m", "memory": "8Mi"}}}]},
    }  # fmt: skip
    assert "violates PodSecurity" in kubectl(
        "create", "--dry-run=server", "-f", "-", given=json.dumps(pod), check=False
    )


def test_an_unknown_field_and_a_wrong_value_are_named() -> None:
    job = yaml.safe_load((ROOT / "training/templates/pytorch-training-job.yaml").read_text())
    job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicsa"] = 1
    assert "replicsa" in kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(job), check=False)
    del job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicsa"]
    job["spec"]["runPolicy"]["cleanPodPolicy"] = "Sometimes"
    assert "cleanPodPolicy" in kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(job), check=False)
