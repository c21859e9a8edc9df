"""TrainJob of Kubeflow Trainer v2: the runtime says how workers find each other, the job what they run."""

from __future__ import annotations

from typing import Any

from maestro.core.cluster import ClusterTraining
from maestro.core.errors import BadInput
from maestro.training.backends._base import Attempt
from maestro.training.manifests.frameworks import framework
from maestro.training.manifests.naming import HANDLE, SUBMITTED_BY, labels, object_name
from maestro.training.manifests.pod import command, container, environment, image_named, resources, template

API_VERSION = "trainer.kubeflow.org/v1alpha1"
KIND = "TrainJob"
MANAGER = "maestro.dev/training"
NODE = "node"
"""The replicated job of a runtime that trains, and its container."""


def render(attempt: Attempt, options: ClusterTraining, backend: str = "trainer") -> dict[str, Any]:
    """The TrainJob of an attempt.

    Raises:
        BadInput: the framework is unknown or MXNet, or no runtime is set for it.
    """
    kind = framework(attempt.request.framework)
    runtime = options.runtimes.get(kind.name)
    if runtime is None:
        raise BadInput(
            f"no ClusterTrainingRuntime is set for {kind.name}",
            field="framework",
            remedy=f"set MAESTRO_CLUSTER__TRAINING__RUNTIMES, or choose one of {', '.join(sorted(options.runtimes))}",
        )
    name = object_name(attempt.handle)
    labelled = labels(attempt, backend)
    image = image_named(attempt, options, kind.name) or options.image
    pod = template(attempt, options, name, NODE, image, labelled)
    own = container(attempt, options, NODE, image)
    overridden = {
        "serviceAccountName": pod["spec"]["serviceAccountName"],
        "securityContext": pod["spec"]["securityContext"],
        "volumes": pod["spec"]["volumes"],
        "containers": [{"name": NODE, "volumeMounts": own["volumeMounts"], "securityContext": own["securityContext"]}],
    }
    if "tolerations" in pod["spec"]:
        overridden["tolerations"] = pod["spec"]["tolerations"]
    patch = {"name": NODE, "template": {"spec": {"template": {"metadata": pod["metadata"], "spec": overridden}}}}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": options.namespace,
            "labels": labelled | ({"kueue.x-k8s.io/queue-name": options.queue} if options.queue else {}),
            "annotations": {HANDLE: attempt.handle, SUBMITTED_BY: attempt.submitted_by},
        },
        "spec": {
            "runtimeRef": _runtime(runtime),
            "trainer": {
                "image": image,
                "command": command(attempt),
                "numNodes": attempt.request.workers,
                "env": environment(attempt, options),
                "resourcesPerNode": resources(attempt.request),
            },
            "activeDeadlineSeconds": attempt.request.timeout_s + round(options.startup_s),
            "suspend": options.queue is not None,  # Kueue starts it
            "runtimePatches": [
                {"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [patch]}}}}
            ],
        },
    }


def _runtime(text: str) -> dict[str, str]:
    """The reference that `[<kind>/]<name>` means."""
    kind, _, name = text.rpartition("/")
    return {"name": name, "kind": kind or "ClusterTrainingRuntime", "apiGroup": "trainer.kubeflow.org"}
