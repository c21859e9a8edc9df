"""The training operator under our manifest: its examples become pods, one job has a limit, all have a quota, failures are followed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from maestro.clients.kubernetes import Cluster, Ref
from tests.cluster.platform_stage import ROOT, TRAINING, kubectl, simulated, training_operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", autouse=True)
def _operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if not simulated(cluster):
        pytest.skip("the operator in a pod: make test-node")
    if shutil.which("training-operator") is None:
        pytest.skip("no training-operator on PATH")
    kubectl("apply", "-f", "infrastructure/kubernetes/namespaces.yaml")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "infrastructure/kubernetes/training-operator.yaml")
    kubectl("delete", "tfjobs,pytorchjobs", "--all", "-n", TRAINING, "--wait=true")
    with training_operator(cluster, tmp_path_factory.mktemp("operator")):
        yield


@pytest.fixture(autouse=True)
def _clean(cluster: Cluster) -> Iterator[None]:
    yield
    kubectl(
        "delete", "tfjobs,pytorchjobs,xgboostjobs,paddlejobs,jaxjobs,mpijobs", "--all", "-n", TRAINING, "--wait=true"
    )
    until(lambda: not pods(cluster), "the pods of the test are gone")


def pods(cluster: Cluster, job: str = "") -> list[dict[str, Any]]:
    """The pods of one job, or of all."""
    labels = f"training.kubeflow.org/job-name={job}" if job else "training.kubeflow.org/job-name"
    return cluster.list("v1", "Pod", TRAINING, labels=labels)


def template(name: str = "tensorflow") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f"training/templates/{name}-training-job.yaml").read_text())
    return found


def job(name: str, *, cpu: str = "2", memory: str = "4Gi", annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """The TensorFlow template under another name and size."""
    body = template()
    body["metadata"]["name"] = name
    for replica in body["spec"]["tfReplicaSpecs"].values():
        pod = replica["template"]
        pod["metadata"]["annotations"] = annotations or {}
        pod["spec"]["containers"][0]["resources"] = {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"cpu": cpu, "memory": memory},
        }
    return body


def submit(body: dict[str, Any], *, check: bool = True) -> str:
    return kubectl("create", "-f", "-", given=json.dumps(body), check=check)


def conditions(cluster: Cluster, kind: str, name: str) -> set[str]:
    status = cluster.get(Ref("kubeflow.org/v1", kind, name, TRAINING)).get("status") or {}
    return {entry["type"] for entry in status.get("conditions") or [] if entry["status"] == "True"}


@pytest.mark.shows("B1", "B3", "B8", env="cluster", accepted="a container runtime")
@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("mnist-tensorflow", {"mnist-tensorflow-training-chief-0", "mnist-tensorflow-training-worker-0"}),
        ("cifar10-pytorch", {"cifar10-pytorch-training-master-0", "cifar10-pytorch-training-worker-0"}),
    ],
)
def test_an_example_becomes_the_pods_that_the_guide_names(cluster: Cluster, path: str, names: set[str]) -> None:
    kubectl("apply", "-f", f"training/examples/{path}.yaml")
    name = f"{path}-training"
    until(lambda: {pod["metadata"]["name"] for pod in pods(cluster, name)} == names, f"the pods {names}")
    kind = "TFJob" if "tensorflow" in path else "PyTorchJob"
    until(lambda: "Running" in conditions(cluster, kind, name), "the job runs")
    services = {one["metadata"]["name"] for one in cluster.list("v1", "Service", TRAINING)}
    assert names <= services
    environment = {
        one["name"]: one.get("value", "")
        for pod in pods(cluster, name)
        if pod["metadata"]["name"].endswith(("chief-0", "master-0"))
        for one in pod["spec"]["containers"][0]["env"]
    }
    if kind == "TFJob":
        task = json.loads(environment["TF_CONFIG"])
        assert task["task"] == {"type": "chief", "index": 0}
        assert set(task["cluster"]) == {"chief", "worker"}
    else:
        assert environment["WORLD_SIZE"] == "2"
        (worker,) = [pod for pod in pods(cluster, name) if "worker" in pod["metadata"]["name"]]
        assert worker["spec"]["initContainers"][0]["name"] == "wait-for-master"
    columns = kubectl("get", kind.lower(), name, "-n", TRAINING)
    assert "Running" in columns
    assert "STATE" in columns


@pytest.mark.shows("B2", env="cluster", accepted="a container runtime")
@pytest.mark.parametrize("name", ["tensorflow", "pytorch"])
def test_a_template_is_a_job_as_it_is(cluster: Cluster, name: str) -> None:
    submit(template(name))
    until(lambda: len(pods(cluster, f"{name}-training-job")) == 2, "its pods")


@pytest.mark.door
@pytest.mark.shows("B2", "B46", env="cluster", accepted="a container runtime")
def test_the_template_of_a_plain_job_runs_to_its_end(cluster: Cluster) -> None:
    """One pod of any framework, in `ml-training`, by kubectl: let in, run, done."""
    *_, body = yaml.safe_load_all((ROOT / "training/templates/generic-training-job.yaml").read_text())
    name, place = body["metadata"]["name"], body["metadata"]["namespace"]
    kubectl("delete", "job", name, "-n", place, "--ignore-not-found", "--wait=true")
    body["spec"]["template"]["metadata"].setdefault("annotations", {})["simulation/seconds"] = "1"
    kubectl("apply", "-f", "training/templates/generic-training-job.yaml")
    kubectl("delete", "job", name, "-n", place, "--wait=true")
    submit(body)
    kubectl("wait", "--for=condition=complete", f"job/{name}", "-n", place, "--timeout=60s")
    kubectl("delete", "job", name, "-n", place, "--wait=true")


@pytest.mark.shows("B7", env="cluster")
@pytest.mark.parametrize(("cpu", "memory", "said"), [("3", "1Gi", "4 CPU"), ("1", "5Gi", "8Gi")])
def test_a_job_over_its_limit_is_refused(cpu: str, memory: str, said: str) -> None:
    assert said in submit(job("too-big", cpu=cpu, memory=memory), check=False)


@pytest.mark.shows("B7", env="cluster")
@pytest.mark.parametrize(
    ("kind", "field"),
    [("PyTorchJob", "pytorchReplicaSpecs"), ("XGBoostJob", "xgbReplicaSpecs"), ("PaddleJob", "paddleReplicaSpecs"),
     ("MPIJob", "mpiReplicaSpecs"), ("JAXJob", "jaxReplicaSpecs")],
)  # fmt: skip
def test_the_limit_adds_up_every_kind_of_job(kind: str, field: str) -> None:
    worker = job("x")["spec"]["tfReplicaSpecs"]["Worker"] | {"replicas": 3}
    policy: dict[str, Any] = {} if kind == "MPIJob" else {"runPolicy": {}}
    metadata = {"name": "too-big", "namespace": TRAINING}
    body = {
        "apiVersion": "kubeflow.org/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": policy | {field: {"Worker": worker}},
    }
    assert "add up to 6" in submit(body, check=False)


@pytest.mark.shows("B7", env="cluster")
def test_no_limit_at_all_an_elastic_job_and_a_plain_job_are_seen_too() -> None:
    free = job("free")
    del free["spec"]["tfReplicaSpecs"]["Chief"]["template"]["spec"]["containers"][0]["resources"]
    assert "states limits" in submit(free, check=False)
    elastic = template("pytorch")
    elastic["spec"]["elasticPolicy"] = {"minReplicas": 1, "maxReplicas": 8, "rdzvBackend": "c10d"}
    assert "add up to 18" in submit(elastic, check=False)
    *_, plain = yaml.safe_load_all((ROOT / "training/templates/generic-training-job.yaml").read_text())
    plain["spec"]["parallelism"] = 3
    assert "add up to 6" in submit(plain, check=False)


@pytest.mark.shows("B6", env="cluster")
def test_three_jobs_fill_the_quota_the_fourth_waits_and_runs_when_one_ends(cluster: Cluster) -> None:
    for number in range(3):
        submit(job(f"full-{number}"))
    until(lambda: len(pods(cluster)) == 6, "three jobs run")
    used = cluster.get(Ref("v1", "ResourceQuota", "training-quota", TRAINING))["status"]["used"]
    assert (used["limits.cpu"], used["limits.memory"]) == ("12", "24Gi")
    submit(job("fourth"))
    until(
        lambda: any(
            "exceeded quota: training-quota" in one["message"] for one in cluster.list("v1", "Event", TRAINING)
        ),
        "the fourth is held",
    )
    assert pods(cluster, "fourth") == []
    # drift and reports have room all the same
    drift = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "drift", "namespace": TRAINING},
        "spec": {
            "priorityClassName": "maestro-interruptible", "serviceAccountName": "training-job", "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "drift", "image": "localhost/none:1", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    }  # fmt: skip
    submit(drift)
    kubectl("delete", "pod", "drift", "-n", TRAINING, "--wait=false")
    kubectl("delete", "tfjob", "full-0", "-n", TRAINING)
    until(lambda: len(pods(cluster, "fourth")) == 2, "the fourth runs", 120)


@pytest.mark.shows("B1", env="cluster", accepted="a container runtime")
def test_a_launcher_of_mpi_is_let_in_by_the_optional_part_alone(cluster: Cluster) -> None:
    """Upstream's launcher has an init container that Pod Security refuses; the part gives it a securityContext."""
    if "MutatingAdmissionPolicy" not in cluster.kinds("admissionregistration.k8s.io/v1"):
        pytest.skip("MutatingAdmissionPolicy v1 came with Kubernetes 1.36")
    replica = job("mpi", cpu="500m", memory="512Mi")["spec"]["tfReplicaSpecs"]["Worker"]
    launcher = json.loads(json.dumps(replica))
    # the operator makes an account for each launcher
    del launcher["template"]["spec"]["serviceAccountName"]
    launcher["template"]["spec"]["automountServiceAccountToken"] = True
    body = {
        "apiVersion": "kubeflow.org/v1", "kind": "MPIJob", "metadata": {"name": "mpi", "namespace": TRAINING},
        "spec": {"slotsPerWorker": 1, "mpiReplicaSpecs": {"Launcher": launcher, "Worker": replica | {"replicas": 2}}},
    }  # fmt: skip
    # other tests apply every file of the repository
    kubectl("delete", "-f", "infrastructure/components/mpi/launcher.yaml", "--ignore-not-found")
    until(lambda: not _given_a_context(replica), "the policy is no longer in force")
    submit(body)
    until(
        lambda: any("kubectl-delivery" in one["message"] for one in cluster.list("v1", "Event", TRAINING)),
        "without the part the launcher is refused",
    )
    kubectl("delete", "mpijob", "mpi", "-n", TRAINING, "--wait=true")
    kubectl("apply", "-f", "infrastructure/components/mpi/launcher.yaml")
    try:
        until(lambda: _given_a_context(replica), "the policy is in force")
        submit(body)
        names = {"mpi-launcher", "mpi-worker-0", "mpi-worker-1"}
        until(lambda: {pod["metadata"]["name"] for pod in pods(cluster, "mpi")} == names, f"the pods {names}", 90)
        (delivery,) = cluster.get(Ref("v1", "Pod", "mpi-launcher", TRAINING))["spec"]["initContainers"]
        assert delivery["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        asked = ("auth", "can-i", f"--as=system:serviceaccount:{TRAINING}:mpi-launcher", "-n", TRAINING, "create")
        may = {
            what: kubectl(*asked, *what.split(), check=False).strip()
            for what in ("pods/mpi-worker-0 --subresource=exec", "pods/other --subresource=exec", "secrets")
        }
        assert list(may.values()) == ["yes", "no", "no"], may
    finally:
        kubectl("delete", "-f", "infrastructure/components/mpi/launcher.yaml")


def _given_a_context(replica: dict[str, Any]) -> bool:
    """Whether a pod with the operator's init container passes, which no policy does at once."""
    spec = json.loads(json.dumps(replica["template"]["spec"]))
    box = {key: value for key, value in spec["containers"][0].items() if key in {"image", "resources"}}
    spec["initContainers"] = [box | {"name": "kubectl-delivery"}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": TRAINING}, "spec": spec}
    return "created" in kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(pod), check=False)


@pytest.mark.shows("B10", env="cluster", accepted="a container runtime")
def test_a_job_that_ends_is_cleaned_as_it_asks(cluster: Cluster) -> None:
    body = job("ends", annotations={"simulation/seconds": "2"})
    body["spec"]["runPolicy"]["cleanPodPolicy"] = "All"
    submit(body)
    until(lambda: "Succeeded" in conditions(cluster, "TFJob", "ends"), "it succeeds")
    until(lambda: pods(cluster, "ends") == [], "its pods are cleaned up")


@pytest.mark.shows("B10", env="cluster", accepted="a container runtime")
def test_a_pod_that_fails_is_tried_again_and_a_hopeless_job_ends(cluster: Cluster) -> None:
    body = job("fails", annotations={"simulation/seconds": "1", "simulation/exit-code": "1"})
    for replica in body["spec"]["tfReplicaSpecs"].values():
        replica["restartPolicy"] = "Never"
    body["spec"]["runPolicy"]["backoffLimit"] = 1
    submit(body)
    until(lambda: "Failed" in conditions(cluster, "TFJob", "fails"), "it fails for good", 90)
    retried = job("retried", annotations={"simulation/seconds": "2", "simulation/exit-code": "137"})
    submit(retried)
    until(
        lambda: (
            "Restarting" in conditions(cluster, "TFJob", "retried")
            or "Failed" in conditions(cluster, "TFJob", "retried")
        ),
        "exit code 137 is tried again",
        90,
    )


def test_the_webhook_of_the_operator_refuses_what_it_knows_to_be_wrong(tmp_path: Path) -> None:
    body = template("pytorch")
    body["metadata"]["name"] = "1-starts-with-a-number"
    assert "denied the request" in submit(body, check=False)
