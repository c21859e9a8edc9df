"""Training by Kubeflow Trainer v2: TrainJob, whose pods JobSet makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maestro.clients.kubernetes.objects import Cluster
from maestro.core.cluster import ClusterTraining
from maestro.training.backends._base import Attempt, Phase
from maestro.training.backends.cluster import ClusterBackend
from maestro.training.manifests import trainjob

_SET = "jobset.sigs.k8s.io/jobset-name"
_REPLICATED = "jobset.sigs.k8s.io/replicatedjob-name"
_INDEX = "batch.kubernetes.io/job-completion-index"


class Trainer:
    """How Trainer writes jobs."""

    name = "trainer"
    api_version = trainjob.API_VERSION
    needs = "Kubeflow Trainer v2 and JobSet (component trainer)"

    def __init__(self, options: ClusterTraining) -> None:
        self._options = options

    def render(self, attempt: Attempt) -> dict[str, Any]:
        """The TrainJob."""
        return trainjob.render(attempt, self._options, self.name)

    def phase(self, job: Mapping[str, Any]) -> tuple[Phase, str]:
        """By the conditions Complete, Failed, Suspended; running when a child job is active and ready."""
        status = job.get("status") or {}
        said = {
            condition["type"]: str(condition.get("message", ""))
            for condition in status.get("conditions") or []
            if condition["status"] == "True"
        }
        if "Failed" in said:
            return Phase.FAILED, said["Failed"]
        if "Complete" in said:
            return Phase.SUCCEEDED, ""
        if "Suspended" in said:
            return Phase.PENDING, "suspended: waits for its queue"
        node: Mapping[str, Any] = next(
            (child for child in status.get("jobsStatus") or [] if child["name"] == trainjob.NODE), {}
        )
        if node.get("ready") or node.get("succeeded"):
            return Phase.RUNNING, ""
        return Phase.PENDING, "its pods are being made"

    def pod_labels(self, job_name: str) -> dict[str, str]:
        """As JobSet sets them: the set has the job's name."""
        return {_SET: job_name}

    def rank(self, pod: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> int:
        """The completion index of a training node; initializers and launchers are no workers."""
        labels = pod["metadata"]["labels"]
        if labels.get(_REPLICATED) != trainjob.NODE:
            return -1
        return int(labels.get(_INDEX, 0))


def trainer_backend(cluster: Cluster, options: ClusterTraining) -> ClusterBackend:
    """The backend `trainer`."""
    return ClusterBackend(cluster, Trainer(options), options)
