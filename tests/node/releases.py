"""Releases through the control plane in the cluster: a version trained there, approved by another person, rolled out, and followed to its end."""

from __future__ import annotations

import time
from typing import Any

import yaml

from tests.cluster.platform_stage import kubectl, until
from tests.node.reaching import Api, inside

MODEL = "tumour"
POLICY: dict[str, Any] = {
    "apiVersion": "maestro/v1", "kind": "RolloutPolicy", "metadata": {"name": "node"}, "alpha": 0.05,
    "rungs": [{"weight": 10, "margin_factor": 3}, {"weight": 50, "margin_factor": 1}, {"weight": 100, "bake": "10s"}],
    "metrics": [{"name": "errors", "bad": "error", "margin": 0.1}, {"name": "slow", "bad": "latency > 0.2s", "margin": 0.3}],
    "gates": {"contract": "required", "signature": "required", "lineage": "complete", "offline": {"metric": "f1", "margin": 0.5}, "approvals": 1},
    "budget": {"requests": 100000, "duration": "15m"},
}  # fmt: skip
"""What Prometheus can tell: errors and latency, with margins that minutes of a small node's traffic can decide."""
WIDE = {"feature_service": "tumour_v1"}
NARROW = WIDE | {"from": "2026-01-01", "to": "2026-02-15"}
"""Patients of six weeks: whoever was trained on them has not seen the others' extremes."""


def define_features() -> None:
    """The data set of the model, written and defined where the worker reads it."""
    inside(
        "ml-platform", "deploy/control-plane-worker", "maestro", "features", "apply", "--dataset", "tumour", "--json"
    )


def trained(control: Api, data: dict[str, Any], **params: Any) -> dict[str, Any]:
    """A version of the model."""
    job = control.job({
        "name": f"release-{time.time_ns()}", "model_type": "classifier", "data": data, "register_as": MODEL,
        "params": {"algorithm": "logistic_regression", **params}, "resources": {"cpu": 0.5, "memory": "1Gi"},
    })  # fmt: skip
    assert job["status"] == "completed", job

    def registered() -> dict[str, Any] | None:
        items = control.get("/versions", model=MODEL, page_size=200)["items"]
        return next((one for one in items if one["run_id"] == job["run_id"]), None)

    version: dict[str, Any] = until(registered, "nothing was registered", 60)
    return version


def released(control: Api, approver: Api, version: dict[str, Any], within_s: float = 600) -> dict[str, Any]:
    """The rollout of a version once it has ended."""
    name = {"model": MODEL, "version": version["version"], "policy": POLICY}
    asked = control.post("/approvals", name)
    assert asked["status"] == "pending", asked["evidence"]["gates"]
    approver.post(f"/approvals/{asked['id']}/approve", {"comment": "gates and evidence read"})
    begun = control.post("/rollouts", name)["rollout"]["id"]
    deadline = time.monotonic() + within_s
    while True:
        found: dict[str, Any] = control.get(f"/rollouts/{begun}")
        if found["rollout"]["step"] == "done":
            rollout: dict[str, Any] = found["rollout"]
            return rollout
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def served() -> bool:
    """Whether the graph in force is the model's."""
    graph = kubectl("get", "configmap", "ab-test-config", "-n", "ml-serving", "-o", "jsonpath={.data.graph\\.yaml}")
    return bool(yaml.safe_load(graph)["metadata"]["name"] == MODEL)


def extremes(version: dict[str, Any]) -> tuple[float, ...]:
    """The largest values that a version has seen."""
    return tuple(feature["max"] for feature in version["contract"]["features"])
