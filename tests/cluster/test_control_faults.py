"""An API server that refuses, slows down or goes away: a clear error with object and remedy, repeated where that is right, nothing half done in silence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from maestro.clients.kubernetes.connection import Connection
from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.cluster import ClusterTraining
from maestro.core.errors import Conflict, MaestroError, NotFound, Refused, TooManyRequests, Unauthenticated, Unreachable
from maestro.core.graph import GraphMetadata, InferenceGraph, ModelNode
from maestro.core.jobs import Resources
from maestro.serving.targets.graph_map import GraphMap
from maestro.training.backends._base import Attempt
from maestro.training.backends.kubeflow import kubeflow_backend
from tests.cluster import operator_process
from tests.cluster.fault_proxy import Proxy, fault_proxy
from tests.training.conftest import request_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


@pytest.fixture
def proxy(cluster: Cluster, tmp_path: Path) -> Iterator[Proxy]:
    with fault_proxy(tmp_path) as running:
        yield running


@pytest.fixture
def shaky(proxy: Proxy) -> Cluster:
    """The cluster through the proxy."""
    return Cluster(Connection.load(proxy.kubeconfig, timeout_s=4.0, patience_s=12.0))


def config(namespace: str, name: str = "x") -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"a": "1"},
    }


@pytest.mark.parametrize(
    ("status", "kind", "remedy"),
    [
        (401, Unauthenticated, "renew it"),
        (403, Refused, "RBAC"),
        (409, Conflict, "read it again"),
        (422, MaestroError, "correct"),
    ],
)
def test_what_the_server_refuses_is_told_at_once(
    status: int, kind: type[MaestroError], remedy: str, shaky: Cluster, proxy: Proxy, cluster: Cluster, namespace: str
) -> None:
    proxy.fault("POST .*configmaps", status=status, times=9)
    with pytest.raises(kind, match=f"cannot create ConfigMap {namespace}/x") as refused:
        shaky.create(config(namespace))
    assert remedy in refused.value.remedy
    assert sum(line.startswith("POST") for line in proxy.requests) == 1
    assert cluster.find(Ref("v1", "ConfigMap", "x", namespace)) is None


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(status: int, shaky: Cluster, proxy: Proxy, namespace: str) -> None:
    proxy.fault("POST .*configmaps", status=status, retry_after=1, times=2)
    began = time.monotonic()
    assert shaky.create(config(namespace))["metadata"]["name"] == "x"
    if status == 429:
        assert time.monotonic() - began >= 2.0


def test_a_server_that_stays_busy_is_given_up_with_when_to_come_back(
    shaky: Cluster, proxy: Proxy, namespace: str
) -> None:
    proxy.fault("POST", status=429, retry_after=60, times=99)
    with pytest.raises(TooManyRequests, match="slow down") as busy:
        shaky.create(config(namespace))
    assert busy.value.extra["retry_after"] == 60


@pytest.mark.parametrize("fault", [{"cut": "before"}, {"status": 500}, {"delay_s": 5.0}])
def test_a_read_is_repeated(
    fault: dict[str, object], shaky: Cluster, proxy: Proxy, cluster: Cluster, namespace: str
) -> None:
    cluster.create(config(namespace))
    proxy.fault("GET .*configmaps/x", **fault)
    assert shaky.get(Ref("v1", "ConfigMap", "x", namespace))["data"] == {"a": "1"}


def test_a_write_whose_outcome_is_unknown_is_not_repeated_and_says_so(
    shaky: Cluster, proxy: Proxy, cluster: Cluster, namespace: str
) -> None:
    proxy.fault("POST .*configmaps", cut="after")
    with pytest.raises(Unreachable, match="whether it was done is not known") as unknown:
        shaky.create(config(namespace))
    assert unknown.value.extra["outcome"] == "unknown"
    assert sum(line.startswith("POST") for line in proxy.requests) == 1
    assert cluster.find(Ref("v1", "ConfigMap", "x", namespace)) is not None


def graph(revision: int, version: str = "1.0.0") -> InferenceGraph:
    node = ModelNode(model="m", version=version, digest="sha256:" + "0" * 64)
    return InferenceGraph(metadata=GraphMetadata(name="m", revision=revision), root="a", nodes={"a": node})


@pytest.mark.parametrize(
    "fault", [{"cut": "after"}, {"cut": "before"}, {"status": 409}, {"status": 429, "retry_after": 0}]
)
def test_a_graph_is_written_once_whatever_happens_to_the_answer(
    fault: dict[str, object], shaky: Cluster, proxy: Proxy, cluster: Cluster, namespace: str
) -> None:
    """As the rollout does it: after an unknown outcome it reads, and writes only what is not there."""
    GraphMap(cluster, namespace, "ab-test-config", "m").write(graph(1), None)
    proxy.fault("PATCH .*configmaps", **fault)
    shaking = GraphMap(shaky, namespace, "ab-test-config", "m")
    for _ in range(3):
        try:
            shaking.write(graph(2, "1.1.0"), 1)
            break
        except (Unreachable, Conflict):
            continue
    assert GraphMap(cluster, namespace, "ab-test-config", "m").read() == graph(2, "1.1.0")
    with pytest.raises(Conflict, match="at revision 2, expected 1"):
        shaking.write(graph(2, "1.2.0"), 1)


def attempt(job_id: str, folder: Path) -> Attempt:
    return Attempt(
        job_id=job_id, attempt=1, fence=1, submitted_by="human:ada", folder=folder,
        request=request_for("tumour_v1", backend="kubeflow", resources=Resources(cpu=0.1, memory="64Mi")),
    )  # fmt: skip


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_job_that_is_refused_leaves_nothing(
    status: int, shaky: Cluster, proxy: Proxy, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    operator_process.install_definitions(cluster)
    proxy.fault("POST .*pytorchjobs", status=status, retry_after=60, times=99)
    backend = kubeflow_backend(shaky, ClusterTraining(namespace=namespace))
    with pytest.raises(MaestroError, match=f"create PyTorchJob {namespace}/job-refused-1"):
        backend.submit(attempt("job-refused", tmp_path))
    assert cluster.find(Ref("v1", "ConfigMap", "job-refused-1", namespace)) is None
    with pytest.raises(NotFound):
        backend.status("job-refused-1")


@pytest.mark.parametrize("cut", ["before", "after"])
@pytest.mark.parametrize("what", ["configmaps", "pytorchjobs"])
def test_a_job_whose_submission_was_cut_off_is_submitted_once(
    cut: str, what: str, shaky: Cluster, proxy: Proxy, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    operator_process.install_definitions(cluster)
    proxy.fault(f"POST .*{what}", cut=cut)
    backend = kubeflow_backend(shaky, ClusterTraining(namespace=namespace))
    with pytest.raises(Unreachable, match="whether it was done is not known"):
        backend.submit(attempt("job-cut", tmp_path))
    backend.submit(attempt("job-cut", tmp_path))
    assert len(cluster.list("kubeflow.org/v1", "PyTorchJob", namespace)) == 1


def test_what_is_not_installed_is_named_before_anything_is_made(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    from maestro.training.backends.trainer import trainer_backend

    if "TrainJob" in cluster.kinds("trainer.kubeflow.org/v1alpha1", fresh=True):
        pytest.skip("Trainer is installed")
    with pytest.raises(NotFound, match="no kind TrainJob") as missing:
        trainer_backend(cluster, ClusterTraining(namespace=namespace)).submit(attempt("job-none", tmp_path))
    assert "CustomResourceDefinition" in missing.value.remedy
    assert cluster.find(Ref("v1", "ConfigMap", "job-none-1", namespace)) is None
