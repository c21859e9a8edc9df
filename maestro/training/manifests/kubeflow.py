"""Jobs of the training operator v1: TFJob, PyTorchJob, XGBoostJob, PaddleJob, MPIJob, JAXJob."""

from __future__ import annotations

from typing import Any

from maestro.core.cluster import ClusterTraining
from maestro.training.backends._base import Attempt
from maestro.training.manifests.frameworks import API_VERSION, Framework, framework
from maestro.training.manifests.naming import HANDLE, SUBMITTED_BY, labels, object_name
from maestro.training.manifests.pod import command, image_named, template
from maestro.training.manifests.templates import pod_of, under


def render(attempt: Attempt, options: ClusterTraining, backend: str = "kubeflow") -> dict[str, Any]:
    """The job of an attempt.

    The operator never restarts anything: a retry is a new attempt with a new fence, decided by the queue. Finished pods stay for their logs; a job that
    nobody looks after any more is ended by `activeDeadlineSeconds`.

    Raises:
        BadInput: the framework is unknown, or MXNet.
    """
    kind = framework(attempt.request.framework)
    name = object_name(attempt.handle)
    labelled = labels(attempt, backend)
    base = pod_of(options.templates, kind)
    image = image_named(attempt, options, kind.name) or _image(base, kind, attempt) or options.image
    policy: dict[str, Any] = {
        "cleanPodPolicy": "Running",
        "activeDeadlineSeconds": attempt.request.timeout_s + round(options.startup_s),
    }
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": options.namespace,
        "labels": labelled | ({"kueue.x-k8s.io/queue-name": options.queue} if options.queue else {}),
        "annotations": {HANDLE: attempt.handle, SUBMITTED_BY: attempt.submitted_by},
    }
    if options.queue:
        policy["suspend"] = True  # Kueue starts it
    document: dict[str, Any] = {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": metadata}
    spec: dict[str, Any] = {
        "runPolicy": policy,
        kind.replicas: _replicas(attempt, options, kind, name, image, labelled, base),
    }
    if kind.name == "mpi":
        spec["slotsPerWorker"] = 1
    return document | {"spec": spec}


def counts(kind: Framework, workers: int) -> dict[str, int]:
    """Replicas by type for a number of workers.

    >>> from maestro.training.manifests.frameworks import framework
    >>> counts(framework("pytorch"), 3), counts(framework("jax"), 3), counts(framework("mpi"), 3)
    ({'Master': 1, 'Worker': 2}, {'Worker': 3}, {'Launcher': 1, 'Worker': 3})
    """
    if kind.leader is None:
        return {kind.worker: workers}
    others = workers - 1 if kind.leader_works else workers
    return {kind.leader: 1} | ({kind.worker: others} if others else {})


def _replicas(
    attempt: Attempt,
    options: ClusterTraining,
    kind: Framework,
    name: str,
    image: str,
    labelled: dict[str, str],
    base: dict[str, Any],
) -> dict[str, Any]:
    made = {}
    for replica, count in counts(kind, attempt.request.workers).items():
        pod = under(base, template(attempt, options, name, kind.container, image, labelled))
        _own(pod, kind).pop("args", None)  # the job's command is whole
        if kind.name == "mpi":
            _as_mpi(_own(pod, kind), attempt, is_launcher=replica == kind.leader)
        made[replica] = {"replicas": count, "restartPolicy": "Never", "template": pod}
    return made


def _image(base: dict[str, Any], kind: Framework, attempt: Attempt) -> str | None:
    """The template's image, for a job that asks for its framework by name."""
    if not base or attempt.request.framework is None:
        return None
    image = _own(base, kind).get("image")
    return str(image) if image else None


def _own(pod: dict[str, Any], kind: Framework) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in pod["spec"]["containers"] if item["name"] == kind.container)
    return found


def _as_mpi(container: dict[str, Any], attempt: Attempt, *, is_launcher: bool) -> None:
    """The launcher starts the command on every worker by `mpirun`; a worker waits to be used."""
    if is_launcher:
        container["command"] = ["mpirun", "-n", str(attempt.request.workers), *command(attempt)]
    else:
        container["command"] = ["sleep", "infinity"]
