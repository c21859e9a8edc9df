"""The pod of a training worker: Pod Security `restricted`, no credentials, the attempt's file in a folder that it may write to."""

from __future__ import annotations

from typing import Any

from maestro.core.cluster import ClusterTraining
from maestro.core.jobs import JobRequest
from maestro.training.backends._base import Attempt

FOLDER = "/attempt"
"""The attempt's folder in the pod: an emptyDir, with `attempt.json` of the ConfigMap in it."""

FILE = "attempt.json"
CHILD = ("python", "-m", "maestro.training.child", FOLDER)
USER = 10001

GPU = "nvidia.com/gpu"
"""What the NVIDIA device plugin advertises, and the key of the taint on such nodes."""

_SECRETS = ("MAESTRO_API_KEY", "MAESTRO_DATABASE_URL", "MAESTRO_NOTIFY")
"""Never handed to training, whatever the worker's environment holds."""


def image_named(attempt: Attempt, options: ClusterTraining, framework: str) -> str | None:
    """The site's image for a framework that the job asks for by name."""
    return None if attempt.request.framework is None else options.images.get(framework)


def command(attempt: Attempt) -> list[str]:
    """What the container runs."""
    return list(attempt.command or CHILD)


def attempt_file(attempt: Attempt) -> str:
    """`attempt.json` as the pod reads it; what only its objects need stays out, so that an image of another version reads it, too."""
    moved = attempt.model_copy(update={"folder": FOLDER, "environment": {}})
    return moved.model_dump_json(by_alias=True, exclude={"labels"})


def environment(attempt: Attempt, options: ClusterTraining) -> list[dict[str, str]]:
    """The variables of a worker."""
    threads = str(max(1, int(attempt.request.resources.cpu)))
    values = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "HOME": "/tmp"}  # noqa: S108 - the pod's own emptyDir
    values |= attempt.environment
    if options.home_claim is not None:
        values["MAESTRO_HOME"] = options.home_path
    values |= options.environment
    return [{"name": name, "value": value} for name, value in sorted(values.items()) if name not in _SECRETS]


def resources(request: JobRequest) -> dict[str, Any]:
    """Requests equal limits, so that what is billed is what is held."""
    held: dict[str, Any] = {"cpu": f"{round(request.resources.cpu * 1000)}m", "memory": request.resources.memory}
    if request.resources.gpu:
        held[GPU] = request.resources.gpu
    return {"requests": dict(held), "limits": held}


def container(attempt: Attempt, options: ClusterTraining, name: str, image: str) -> dict[str, Any]:
    """The one container of a worker."""
    mounts: list[dict[str, Any]] = [
        {"name": "attempt", "mountPath": FOLDER},
        {"name": "request", "mountPath": f"{FOLDER}/{FILE}", "subPath": FILE, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own emptyDir
    ]
    if options.home_claim is not None:
        mounts.append({"name": "home", "mountPath": options.home_path, "readOnly": True})
    made: dict[str, Any] = {
        "name": name,
        "image": image,
        "imagePullPolicy": options.pull_policy,
        "command": command(attempt),
        "env": environment(attempt, options),
        "resources": resources(attempt.request),
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if options.environment_secret is not None:
        made["envFrom"] = [{"secretRef": {"name": options.environment_secret}}]
    return made


def volumes(options: ClusterTraining, config_map: str) -> list[dict[str, Any]]:
    """The volumes that the container mounts."""
    made: list[dict[str, Any]] = [
        {"name": "attempt", "emptyDir": {}},
        {"name": "request", "configMap": {"name": config_map}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if options.home_claim is not None:
        made.append({"name": "home", "persistentVolumeClaim": {"claimName": options.home_claim, "readOnly": True}})
    return made


def template(
    attempt: Attempt, options: ClusterTraining, name: str, container_name: str, image: str, labelled: dict[str, str]
) -> dict[str, Any]:
    """The pod template of one replica type."""
    spec: dict[str, Any] = {
        "serviceAccountName": options.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": options.grace_s,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(attempt, options, container_name, image)],
        "volumes": volumes(options, name),
    }
    if attempt.request.resources.gpu:
        # nodes with GPUs keep everybody else away by this taint, as device plugins and providers set it
        spec["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    priority = options.priority_classes.get(attempt.request.priority.value)
    if priority is not None:
        spec["priorityClassName"] = priority
    metadata: dict[str, Any] = {"labels": labelled}
    if options.annotations:
        metadata["annotations"] = dict(options.annotations)
    return {"metadata": metadata, "spec": spec}
