"""When an object counts as ready."""

from __future__ import annotations

from typing import Any

import pytest

from maestro.core.errors import BadInput
from maestro.operations.platform.examination import requested
from maestro.operations.platform.layout import Layout
from maestro.operations.platform.objects import STAGES, key, shown, stage
from maestro.operations.platform.quantities import quantity
from maestro.operations.platform.readiness import readiness
from maestro.operations.platform.rendering import render


def of(kind: str, status: dict[str, Any], replicas: int = 2) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"generation": 1}, "spec": {"replicas": replicas}, "status": status}


@pytest.mark.parametrize(
    ("body", "ready"),
    [
        (of("Deployment", {}), False),
        (of("Deployment", {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 2}), False),
        (of("Deployment", {"observedGeneration": 1, "updatedReplicas": 2, "availableReplicas": 2}), True),
        (of("Deployment", {"observedGeneration": 1}, 0), True),
        (of("StatefulSet", {"observedGeneration": 1, "updatedReplicas": 2, "readyReplicas": 1}), False),
        (of("StatefulSet", {"observedGeneration": 1, "updatedReplicas": 2, "readyReplicas": 2}), True),
        (of("DaemonSet", {"observedGeneration": 1, "desiredNumberScheduled": 3, "numberAvailable": 2}), False),
        (of("DaemonSet", {"observedGeneration": 1, "desiredNumberScheduled": 3, "numberAvailable": 3}), True),
        (of("CustomResourceDefinition", {}), False),
        (of("CustomResourceDefinition", {"conditions": [{"type": "Established", "status": "True"}]}), True),
        (of("APIService", {"conditions": [{"type": "Available", "status": "False", "message": "x"}]}), False),
        (of("Namespace", {"phase": "Terminating"}), False),
        (of("Job", {"conditions": [{"type": "Failed", "status": "True", "message": "x"}]}), False),
        (of("Job", {"conditions": [{"type": "Complete", "status": "True"}]}), True),
        (of("ConfigMap", {}), True),
    ],
)
def test_an_object_is_ready_when_its_controller_says_so(body: dict[str, Any], ready: bool) -> None:
    state = readiness(body)
    assert state.ready is ready
    assert bool(state.why) is not ready


def test_a_pod_requests_its_containers_or_its_largest_init_container(layout: Layout) -> None:
    (body,) = [one for one in render(layout, "infrastructure/app.yaml") if one["kind"] == "Deployment"]
    assert requested(body, "cpu") == pytest.approx(0.6)
    assert requested(body, "memory") == 2 * 2**30
    assert requested({"kind": "Job"}, "cpu") == 0


def test_objects_are_named_and_ordered() -> None:
    body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "a", "namespace": "b"}}
    assert shown(key(body)) == "StatefulSet b/a"
    order = [
        STAGES.index(stage({"kind": kind}))
        for kind in (
            "Namespace",
            "CustomResourceDefinition",
            "Role",
            "ConfigMap",
            "StatefulSet",
            "Deployment",
            "HTTPRoute",
        )
    ]
    assert order == sorted(order)


@pytest.mark.parametrize("text", ["", "many", "1Zi", "1 Gi", "-"])
def test_what_is_no_quantity_is_told(text: str) -> None:
    with pytest.raises(BadInput, match="no quantity"):
        quantity(text)
