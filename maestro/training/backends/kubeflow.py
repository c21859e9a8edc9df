"""Training by the Kubeflow training operator v1: TFJob, PyTorchJob, XGBoostJob, PaddleJob, MPIJob, JAXJob."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maestro.clients.kubernetes.objects import Cluster
from maestro.core.cluster import ClusterTraining
from maestro.training.backends._base import Attempt, Phase
from maestro.training.backends.cluster import ClusterBackend
from maestro.training.manifests import kubeflow
from maestro.training.manifests.frameworks import API_VERSION, FRAMEWORKS

_JOB = "training.kubeflow.org/job-name"
_TYPE = "training.kubeflow.org/replica-type"
_INDEX = "training.kubeflow.org/replica-index"
_LEADERS = {kind.leader.lower(): kind.leader_works for kind in FRAMEWORKS.values() if kind.leader}


class Operator:
    """How the training operator writes jobs."""

    name = "kubeflow"
    api_version = API_VERSION
    needs = "the Kubeflow training operator (infrastructure/kubernetes/training-operator.yaml)"

    def __init__(self, options: ClusterTraining) -> None:
        self._options = options

    def render(self, attempt: Attempt) -> dict[str, Any]:
        """The job of the attempt's framework."""
        return kubeflow.render(attempt, self._options, self.name)

    def phase(self, job: Mapping[str, Any]) -> tuple[Phase, str]:
        """By the conditions Succeeded, Failed, Running, Suspended."""
        said = {
            condition["type"]: str(condition.get("message", ""))
            for condition in (job.get("status") or {}).get("conditions") or []
            if condition["status"] == "True"
        }
        if "Failed" in said:
            return Phase.FAILED, said["Failed"]
        if "Succeeded" in said:
            return Phase.SUCCEEDED, ""
        if "Running" in said:
            return Phase.RUNNING, ""
        if "Suspended" in said:
            return Phase.PENDING, "suspended: waits for its queue"
        return Phase.PENDING, "its pods are being made"

    def pod_labels(self, job_name: str) -> dict[str, str]:
        """As the operator sets them."""
        return {_JOB: job_name}

    def rank(self, pod: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> int:
        """Chief or master first, then workers by index; an MPI launcher stands for rank 0, and its workers come after."""
        labels = pod["metadata"]["labels"]
        if labels[_TYPE] in _LEADERS:
            return 0
        led = any(other["metadata"]["labels"][_TYPE] in _LEADERS for other in pods)
        return int(labels[_INDEX]) + (1 if led else 0)


def kubeflow_backend(cluster: Cluster, options: ClusterTraining) -> ClusterBackend:
    """The backend `kubeflow`."""
    return ClusterBackend(cluster, Operator(options), options)
