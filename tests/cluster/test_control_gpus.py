"""GPUs as the real scheduler sees them: a simulated node advertises one, as NVIDIA's device plugin would; jobs that ask for it go there, wait for it, and are placed by priority."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.cluster import ClusterTraining
from maestro.core.jobs import Priority, Resources
from maestro.training.backends._base import Attempt, Phase
from maestro.training.backends.cluster import ClusterBackend
from maestro.training.backends.kubeflow import kubeflow_backend
from tests.cluster.platform_stage import ROOT, kubectl, simulated, until
from tests.cluster.test_control_training import over, place  # noqa: F401 - a fixture
from tests.cluster.test_control_training import until as when
from tests.training.conftest import request_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180), pytest.mark.door]

GPU = "nvidia.com/gpu"
WITHOUT = "GPUs"


@pytest.fixture
def advertise(cluster: Cluster) -> Iterator[Callable[..., None]]:
    """Sets how many GPUs each node advertises, as its device plugin would; none where it is not named."""
    if not simulated(cluster):
        pytest.skip("a real node cannot be given a GPU")
    before = {node["metadata"]["name"]: node["status"]["allocatable"].get(GPU) for node in cluster.list("v1", "Node")}

    def write(amounts: dict[str, str | None]) -> None:
        for name, count in amounts.items():
            status = {kind: {GPU: count} for kind in ("capacity", "allocatable")}
            cluster.patch(Ref("v1", "Node", name), {"status": status}, kind="merge", subresource="status")

    yield lambda **counts: write(dict.fromkeys(before) | {name: str(count) for name, count in counts.items()})
    write(before)


@pytest.fixture
def gpu_node(cluster: Cluster, advertise: Callable[..., None]) -> Iterator[str]:
    """The only node with a GPU; it keeps everybody else away."""
    name = str(cluster.list("v1", "Node")[-1]["metadata"]["name"])
    advertise(**{name: 1})
    kubectl("taint", "node", name, f"{GPU}=present:NoSchedule", "--overwrite")
    yield name
    kubectl("taint", "node", name, f"{GPU}-")


@pytest.fixture
def backend(cluster: Cluster, place: str) -> ClusterBackend:  # noqa: F811
    for document in yaml.safe_load_all((ROOT / "infrastructure/kubernetes/training-operator.yaml").read_text()):
        if document and document["kind"] == "PriorityClass":
            cluster.apply(document, force=True)
    options = ClusterTraining(namespace=place, image="localhost/none:1", service_account="default", grace_s=1)
    return kubeflow_backend(cluster, options)


@pytest.fixture
def submit(backend: ClusterBackend, tmp_path: Path) -> Iterator[Callable[..., str]]:
    made: list[str] = []

    def submitted(job_id: str, gpu: int = 1, priority: Priority = Priority.NORMAL) -> str:
        resources = Resources(cpu=0.1, memory="64Mi", gpu=gpu)
        request = request_for("tumour_v1", backend="kubeflow", resources=resources, priority=priority)
        attempt = Attempt(job_id=job_id, attempt=1, fence=1, submitted_by="human:ada", folder=tmp_path, request=request)
        made.append(attempt.handle)
        backend.submit(attempt)
        return attempt.handle

    yield submitted
    for handle in made:
        backend.cancel(handle)
        backend.forget(handle)


def node_of(place: str, handle: str) -> str:  # noqa: F811
    """Where a job's pod is, as kubectl shows it; empty while it is nowhere."""
    query = ("-l", f"training.kubeflow.org/job-name={handle}", "-o", "jsonpath={.items[*].spec.nodeName}")
    return kubectl("get", "pods", "-n", place, *query).strip()


@pytest.mark.shows("B47", "L16", env="cluster", accepted=WITHOUT)
def test_a_gpu_is_asked_for_by_number_and_given_where_one_is(
    gpu_node: str, submit: Callable[..., str], backend: ClusterBackend, place: str  # noqa: F811
) -> None:  # fmt: skip
    handle = submit("job-gpu")
    when(backend, handle, lambda status: status.phase is Phase.RUNNING)
    assert node_of(place, handle) == gpu_node
    pod = json.loads(kubectl("get", "pod", f"{handle}-master-0", "-n", place, "-o", "json"))
    assert pod["spec"]["containers"][0]["resources"]["limits"][GPU] == "1"
    assert any(one.get("key") == GPU for one in pod["spec"]["tolerations"])
    plain = submit("job-plain", gpu=0)
    when(backend, plain, lambda status: status.phase is Phase.RUNNING)
    assert node_of(place, plain) != gpu_node, "who asks for no GPU takes no place beside one"


@pytest.mark.shows("B47", "L16", env="cluster", accepted=WITHOUT)
def test_a_job_waits_for_its_gpu_and_the_more_urgent_comes_first(
    gpu_node: str, submit: Callable[..., str], backend: ClusterBackend, place: str  # noqa: F811
) -> None:  # fmt: skip
    first = submit("job-first", priority=Priority.LOW)
    when(backend, first, lambda status: status.phase is Phase.RUNNING)
    waiting = [submit("job-low", priority=Priority.LOW), submit("job-urgent", priority=Priority.URGENT)]
    for handle in waiting:
        status = when(backend, handle, lambda status: f"Insufficient {GPU}" in status.reason)
        assert status.phase is Phase.PENDING
    time.sleep(2)
    assert not over(backend.status(first)), "what runs is not put out"
    backend.cancel(first)
    until(lambda: node_of(place, waiting[1]), "the urgent one is placed", 60)
    assert node_of(place, waiting[1]) == gpu_node
    assert node_of(place, waiting[0]) == ""
    backend.cancel(waiting[1])
    until(lambda: node_of(place, waiting[0]) == gpu_node, "then the other", 60)


@pytest.mark.shows("B47", env="cluster", accepted=WITHOUT)
def test_without_any_gpu_a_job_says_what_it_waits_for(
    advertise: Callable[..., None], submit: Callable[..., str], backend: ClusterBackend
) -> None:
    advertise()
    handle = submit("job-nowhere")
    status = when(backend, handle, lambda status: "no node takes it" in status.reason)
    assert status.phase is Phase.PENDING
    assert f"Insufficient {GPU}" in status.reason


@pytest.mark.shows("B47", env="cluster", accepted=WITHOUT)
@pytest.mark.parametrize("framework", ["tensorflow", "pytorch"])
def test_the_templates_take_a_gpu_as_a_user_writes_it(gpu_node: str, framework: str, place: str) -> None:  # noqa: F811
    body = yaml.safe_load((ROOT / f"training/templates/{framework}-training-job.yaml").read_text())
    (field,) = [name for name in body["spec"] if name.endswith("ReplicaSpecs")]
    (leader,) = [name for name in body["spec"][field] if name in {"Chief", "Master"}]
    replica = body["spec"][field][leader]
    pod = replica["template"]["spec"]
    pod["containers"][0]["resources"] = {"limits": {"cpu": "100m", "memory": "64Mi", GPU: 1}}
    pod["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    pod |= {"serviceAccountName": "default"}
    pod.pop("priorityClassName")
    body["metadata"] |= {"namespace": place, "name": f"{framework}-gpu"}
    body["spec"][field] = {leader: replica}
    kubectl("create", "-f", "-", given=json.dumps(body))
    try:
        until(lambda: node_of(place, f"{framework}-gpu") == gpu_node, "it is placed beside the GPU")
    finally:
        kubectl("delete", body["kind"].lower(), f"{framework}-gpu", "-n", place, "--wait=true")
