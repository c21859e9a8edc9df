"""TrainJobs on a real API server: accepted field by field under the definitions of Trainer v2, and followed by what its controller would say."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import yaml

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.cluster import ClusterTraining
from maestro.core.jobs import Resources
from maestro.training.backends._base import Attempt, Phase
from maestro.training.backends.cluster import ClusterBackend
from maestro.training.backends.trainer import trainer_backend
from tests.training.conftest import request_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]
API = "trainer.kubeflow.org/v1alpha1"


@pytest.fixture
def backend(cluster: Cluster, namespace: str) -> ClusterBackend:
    share = Path(shutil.which("kubectl") or "/").parent.parent / "share/trainer/crds"
    if "TrainJob" not in cluster.kinds(API, fresh=True):
        if not share.exists():
            pytest.skip("the cluster has no Trainer v2, and its definitions are not beside kubectl")
        cluster.apply(yaml.safe_load((share / "trainer.kubeflow.org_trainjobs.yaml").read_text()), force=True)
        deadline = time.monotonic() + 30
        while "TrainJob" not in cluster.kinds(API, fresh=True):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    return trainer_backend(cluster, ClusterTraining(namespace=namespace, home_claim="home"))


def said(cluster: Cluster, ref: Ref, kind: str, message: str = "") -> None:
    """What the controller would write."""
    condition = {
        "type": kind, "status": "True", "reason": kind, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    cluster.patch(ref, {"status": {"conditions": [condition]}}, subresource="status")


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow", "jax", "xgboost", "mpi"])
def test_a_train_job_is_accepted_and_followed(
    framework: str, backend: ClusterBackend, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    attempt = Attempt(
        job_id=f"job-{framework}", attempt=1, fence=1, submitted_by="human:ada", folder=tmp_path,
        request=request_for("tumour_v1", backend="trainer", framework=framework, workers=2, resources=Resources(cpu=1, memory="1Gi")),
    )  # fmt: skip
    backend.submit(attempt)
    backend.submit(attempt)
    ref = Ref(API, "TrainJob", attempt.handle, namespace)
    assert cluster.get(ref)["spec"]["trainer"]["numNodes"] == 2
    assert backend.status(attempt.handle).phase is Phase.PENDING
    child = {"name": "node", "ready": 1, "active": 1, "succeeded": 0, "failed": 0, "suspended": 0}
    cluster.patch(ref, {"status": {"jobsStatus": [child]}}, subresource="status")
    assert backend.status(attempt.handle).phase is Phase.RUNNING
    said(cluster, ref, "Failed", "a node failed")
    failed = backend.status(attempt.handle)
    assert (failed.phase, failed.reason) == (Phase.FAILED, "a node failed")
    backend.forget(attempt.handle)


def test_success_and_cancel(backend: ClusterBackend, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    for job_id in ("job-done", "job-stopped"):
        attempt = Attempt(
            job_id=job_id, attempt=1, fence=1, submitted_by="human:ada", folder=tmp_path,
            request=request_for("tumour_v1", backend="trainer"),
        )  # fmt: skip
        backend.submit(attempt)
    said(cluster, Ref(API, "TrainJob", "job-done-1", namespace), "Complete")
    assert backend.status("job-done-1").phase is Phase.SUCCEEDED
    backend.cancel("job-stopped-1")
    assert backend.status("job-stopped-1").reason == "cancelled"
    assert cluster.find(Ref(API, "TrainJob", "job-stopped-1", namespace)) is None
