"""Training by the real training operator on a real API server: what every backend owes, and what a cluster adds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.cluster import ClusterTraining
from maestro.core.errors import BadInput, Fenced, NotFound, Refused
from maestro.core.jobs import Resources
from maestro.training.backends._base import Attempt, BackendStatus, Phase
from maestro.training.backends.cluster import ClusterBackend
from maestro.training.backends.kubeflow import Operator, kubeflow_backend
from maestro.training.manifests.frameworks import FRAMEWORKS
from tests.cluster import operator_process
from tests.training.conftest import request_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

Submit = Callable[..., Attempt]


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A namespace in which the operator works."""
    if why := operator_process.missing():
        pytest.skip(why)
    name = f"control-training-{int(time.time())}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    try:
        with operator_process.operator(cluster, name, tmp_path_factory.mktemp("operator") / "operator.log"):
            yield name
    finally:
        cluster.delete(Ref("v1", "Namespace", name))


@pytest.fixture
def options(place: str) -> ClusterTraining:
    """Jobs of bare pods that end after a second."""
    return ClusterTraining(
        namespace=place, image="localhost/none:1", service_account="default", priority_classes={}, grace_s=1,
        annotations={"simulation/seconds": "1"},
    )  # fmt: skip


@pytest.fixture
def backend(cluster: Cluster, options: ClusterTraining) -> ClusterBackend:
    return kubeflow_backend(cluster, options)


@pytest.fixture
def submit(cluster: Cluster, options: ClusterTraining, tmp_path: Path) -> Iterator[Submit]:
    """Submits attempts, and forgets them at the end."""
    made: list[tuple[ClusterBackend, Attempt]] = []

    def submitted(
        job_id: str,
        *,
        fence: int = 1,
        annotations: dict[str, str] | None = None,
        startup_s: float = 300,
        **fields: object,
    ) -> Attempt:
        changed = {
            "annotations": annotations if annotations is not None else options.annotations,
            "startup_s": startup_s,
        }
        runner = kubeflow_backend(cluster, options.model_copy(update=changed))
        attempt = Attempt(
            job_id=job_id, attempt=fence, fence=fence, submitted_by="human:ada", folder=tmp_path,
            request=request_for("tumour_v1", **({"backend": "kubeflow", "resources": Resources(cpu=0.1, memory="64Mi")} | fields)),
        )  # fmt: skip
        made.append((runner, attempt))
        runner.submit(attempt)
        return attempt

    yield submitted
    for runner, attempt in made:
        runner.forget(attempt.handle)


def until(
    runner: ClusterBackend, handle: str, wanted: Callable[[BackendStatus], bool], within_s: float = 30
) -> BackendStatus:
    deadline = time.monotonic() + within_s
    while True:
        status = runner.status(handle)
        if wanted(status):
            return status
        assert time.monotonic() < deadline, status
        time.sleep(0.1)


def over(status: BackendStatus) -> bool:
    return status.phase in {Phase.SUCCEEDED, Phase.FAILED}


@pytest.mark.door
@pytest.mark.shows("B49", env="cluster")
@pytest.mark.parametrize("framework", sorted(set(FRAMEWORKS) - {"mpi"}))
def test_each_framework_runs_to_its_end(
    framework: str, backend: ClusterBackend, options: ClusterTraining, submit: Submit, cluster: Cluster, place: str
) -> None:
    attempt = submit(f"job-{framework}", framework=framework, workers=2)
    kind = FRAMEWORKS[framework].kind
    shown = subprocess.run(
        ["kubectl", "-n", place, "get", kind.lower(), attempt.handle, "-o", "name"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert attempt.handle in shown.stdout
    assert until(backend, attempt.handle, over).phase is Phase.SUCCEEDED
    pods = cluster.list("v1", "Pod", place, labels={"training.kubeflow.org/job-name": attempt.handle})
    ranks = sorted(Operator(options).rank(pod, pods) for pod in pods)
    assert ranks[0] == 0  # workers that still ran when the leader succeeded are cleaned up


def test_mxnet_is_refused_with_the_alternatives(submit: Submit, backend: ClusterBackend) -> None:
    with pytest.raises(BadInput, match="MXNet was archived") as archived:
        submit("job-mxnet", framework="mxnet")
    assert "PyTorch" in archived.value.remedy


def test_submitting_again_starts_nothing(backend: ClusterBackend, submit: Submit, cluster: Cluster, place: str) -> None:
    """Nor does a worker that was restarted: what it knows, it finds in the cluster."""
    attempt = submit("job-again")
    first = cluster.get(Ref("kubeflow.org/v1", "PyTorchJob", attempt.handle, place))
    backend.submit(attempt)
    assert attempt.handle in backend.known()
    until(backend, attempt.handle, over)
    backend.submit(attempt)
    second = cluster.get(Ref("kubeflow.org/v1", "PyTorchJob", attempt.handle, place))
    assert first["metadata"]["uid"] == second["metadata"]["uid"]
    assert first["metadata"]["labels"]["maestro.dev/job-id"] == "job-again"


def test_a_job_deleted_by_somebody_else_is_told_and_not_made_again(
    backend: ClusterBackend, submit: Submit, cluster: Cluster, place: str
) -> None:
    attempt = submit("job-deleted", annotations={})
    ref = Ref("kubeflow.org/v1", "PyTorchJob", attempt.handle, place)
    cluster.delete(ref, propagation="Foreground")
    cluster.wait_gone(ref, 20)
    status = backend.status(attempt.handle)
    assert (status.phase, "deleted by somebody else" in status.reason) == (Phase.FAILED, True)
    backend.submit(attempt)
    assert cluster.find(ref) is None


_CRASH = """
import os, sys
from pathlib import Path
from maestro.clients.kubernetes.objects import Cluster, Connection
from maestro.core.cluster import ClusterTraining
from maestro.training.backends._base import Attempt
from maestro.training.backends.kubeflow import kubeflow_backend
attempt, options, limit = Attempt.model_validate_json(sys.argv[1]), ClusterTraining.model_validate_json(sys.argv[2]), int(sys.argv[3])
cluster, writes = Cluster(Connection.load()), [0]
request = cluster.connection.request
def counted(method, path, **named):
    answer = request(method, path, **named)
    if method != "GET":
        writes[0] += 1
        if writes[0] == limit:
            os._exit(9)
    return answer
cluster.connection.request = counted
backend = kubeflow_backend(cluster, options)
backend.submit(attempt)
backend.cancel(attempt.handle)
"""


def test_a_worker_killed_after_any_write_never_submits_twice(
    backend: ClusterBackend, options: ClusterTraining, submit: Submit, cluster: Cluster, place: str, tmp_path: Path
) -> None:
    """Submit and cancel, killed after each write to the API server; another worker goes on and ends with the same."""
    still = options.model_copy(update={"annotations": {}})
    killed, limit = True, 0
    while killed:
        limit += 1
        attempt = Attempt(
            job_id=f"job-crash-{limit}", attempt=1, fence=1, submitted_by="human:ada", folder=tmp_path,
            request=request_for(backend="kubeflow", resources=Resources(cpu=0.1, memory="64Mi")),
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _CRASH, attempt.model_dump_json(by_alias=True), still.model_dump_json(), str(limit)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in {0, 9}, done.stderr
        killed = done.returncode == 9
        backend.submit(attempt)
        jobs = cluster.list("kubeflow.org/v1", "PyTorchJob", place, labels={"maestro.dev/job-id": attempt.job_id})
        assert len([job for job in jobs if not job["metadata"].get("deletionTimestamp")]) <= 1
        backend.cancel(attempt.handle)
        assert backend.status(attempt.handle).phase is Phase.FAILED
        assert backend.status(attempt.handle).reason == "cancelled"
        assert cluster.list("kubeflow.org/v1", "PyTorchJob", place, labels={"maestro.dev/job-id": attempt.job_id}) == []
        backend.forget(attempt.handle)
    assert limit > 3


def test_a_newer_attempt_ends_the_older_and_an_older_is_refused(
    backend: ClusterBackend, submit: Submit, cluster: Cluster, place: str
) -> None:
    old = submit("job-fenced", annotations={})
    new = submit("job-fenced", fence=2, annotations={})
    jobs = cluster.list("kubeflow.org/v1", "PyTorchJob", place, labels={"maestro.dev/job-id": "job-fenced"})
    assert [job["metadata"]["name"] for job in jobs] == [new.handle]
    with pytest.raises(Fenced, match="comes after fence 2"):
        backend.submit(old)
    with pytest.raises(NotFound):
        backend.status(old.handle)


def test_cancel_returns_when_nothing_runs(
    backend: ClusterBackend, submit: Submit, cluster: Cluster, place: str
) -> None:
    attempt = submit("job-cancel", annotations={}, workers=3)
    until(backend, attempt.handle, lambda status: status.phase is Phase.RUNNING)
    backend.cancel(attempt.handle)
    assert cluster.list("v1", "Pod", place, labels={"training.kubeflow.org/job-name": attempt.handle}) == []
    status = backend.status(attempt.handle)
    assert (status.phase, status.reason) == (Phase.FAILED, "cancelled")
    backend.cancel(attempt.handle)
    backend.submit(attempt)
    assert backend.status(attempt.handle).phase is Phase.FAILED
    backend.forget(attempt.handle)
    with pytest.raises(NotFound):
        backend.status(attempt.handle)


def test_cancelling_what_has_ended_changes_nothing(backend: ClusterBackend, submit: Submit) -> None:
    attempt = submit("job-ended")
    until(backend, attempt.handle, over)
    backend.cancel(attempt.handle)
    assert backend.status(attempt.handle).phase is Phase.SUCCEEDED


def test_a_worker_that_fails_ends_its_group(
    backend: ClusterBackend, submit: Submit, cluster: Cluster, place: str
) -> None:
    attempt = submit("job-fails", annotations={"simulation/seconds": "1", "simulation/exit-code": "3"}, workers=2)
    status = until(backend, attempt.handle, over)
    assert (status.phase, status.exit_code) == (Phase.FAILED, 3)
    assert "ended with exit status 3" in status.reason
    deadline = time.monotonic() + 20
    while any(
        pod["status"]["phase"] == "Running"
        for pod in cluster.list("v1", "Pod", place, labels={"training.kubeflow.org/job-name": attempt.handle})
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_unknown_handle_is_named(backend: ClusterBackend) -> None:
    for call in (backend.status, backend.logs, backend.cancel):
        with pytest.raises(NotFound, match="'nobody-1'"):
            call("nobody-1")


def test_no_node_takes_it(backend: ClusterBackend, submit: Submit) -> None:
    attempt = submit("job-large", resources=Resources(cpu=200, memory="1Gi"))
    status = until(backend, attempt.handle, lambda status: "no node takes it" in status.reason)
    assert status.phase is Phase.PENDING
    assert "Insufficient cpu" in status.reason


@pytest.mark.door
@pytest.mark.shows("B7", env="cluster")
def test_a_full_quota_is_told_and_waited_for(
    backend: ClusterBackend, submit: Submit, cluster: Cluster, place: str
) -> None:
    quota = {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small", "namespace": place},
        "spec": {"hard": {"limits.cpu": "150m"}},
    }  # fmt: skip
    ref = Ref.of(cluster.create(quota))
    try:
        deadline = time.monotonic() + 10
        while not cluster.get(ref).get("status", {}).get("used"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        first = submit("job-quota-1", annotations={})
        until(backend, first.handle, lambda status: status.phase is Phase.RUNNING)
        second = submit("job-quota-2")
        status = until(backend, second.handle, lambda status: "quota" in status.reason)
        assert status.phase is Phase.PENDING
        assert "limits.cpu" in status.reason
        backend.cancel(first.handle)
        assert until(backend, second.handle, over, 60).phase is Phase.SUCCEEDED
    finally:
        cluster.delete(ref)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, "image cannot be pulled"),
        ({"waiting": {"reason": "CreateContainerConfigError", "message": "secret x"}}, "container cannot be made"),
    ],
)
def test_what_cannot_start_is_told_and_given_up(
    state: dict[str, object], words: str, cluster: Cluster, options: ClusterTraining, submit: Submit, place: str
) -> None:
    """The kubelet's words, written to the pod as it would write them."""
    attempt = submit(f"job-{words.split()[0]}", annotations={})
    patient = kubeflow_backend(cluster, options)
    pod = _first_pod(cluster, place, attempt.handle)
    _say(cluster, pod, {"phase": "Pending"}, state)
    status = patient.status(attempt.handle)
    assert words in status.reason
    hasty = kubeflow_backend(cluster, options.model_copy(update={"startup_s": 0.1}))
    given_up = hasty.status(attempt.handle)
    assert given_up.phase is Phase.FAILED
    assert words in given_up.reason
    assert patient.status(attempt.handle) == given_up


def test_running_out_of_memory_is_told_with_the_limit(
    backend: ClusterBackend, cluster: Cluster, submit: Submit, place: str
) -> None:
    attempt = submit("job-oom", annotations={})
    pod = _first_pod(cluster, place, attempt.handle)
    _say(cluster, pod, {"phase": "Failed"}, {"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
    status = until(backend, attempt.handle, over)
    assert status.exit_code == 137
    assert "more than its 64Mi of memory" in status.reason


def test_what_policy_refuses_leaves_nothing_behind(
    backend: ClusterBackend, cluster: Cluster, submit: Submit, place: str
) -> None:
    taken = {
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": "job-taken-1", "namespace": place},
        "spec": {"runPolicy": {}, "pytorchReplicaSpecs": {"Master": {"replicas": 1, "template": {"spec": {"containers": [
            {"name": "pytorch", "image": "localhost/none:1"}]}}}}},
    }  # fmt: skip
    cluster.create(taken)
    with pytest.raises(Refused, match="exists and is not ours"):
        submit("job-taken")
    assert cluster.find(Ref("v1", "ConfigMap", "job-taken-1", place)) is None


def _first_pod(cluster: Cluster, place: str, handle: str) -> Ref:
    deadline = time.monotonic() + 20
    while True:
        pods = cluster.list("v1", "Pod", place, labels={"training.kubeflow.org/job-name": handle})
        if pods and pods[0]["status"]["phase"] == "Running":
            return Ref.of(pods[0])
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _say(cluster: Cluster, pod: Ref, status: dict[str, object], state: dict[str, object]) -> None:
    said = {
        "name": "pytorch",
        "image": "localhost/none:1",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": state,
    }
    cluster.patch(pod, {"status": status | {"containerStatuses": [said]}}, kind="merge", subresource="status")
