"""Training on the node through the API: by the worker itself, and as jobs of the real training operator, registered in the MLflow that runs there."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from maestro.clients.kubernetes.objects import Cluster
from maestro.lifecycle.demo.steps.operator_job import PROGRAM
from tests.cluster.platform_stage import kubectl, until
from tests.node.installation import Installation
from tests.node.reaching import Api, forwarded, inside, run_of

pytestmark = [pytest.mark.node, pytest.mark.timeout(900)]


@pytest.mark.shows("B11", "B22", "D1", "D7", "A1", "A5", env="cluster")
def test_a_job_of_the_worker_is_trained_logged_and_registered(installed: Installation, api: Api) -> None:
    inside(
        "ml-platform", "deploy/control-plane-worker", "maestro", "features", "apply", "--dataset", "tumour", "--json"
    )
    name = f"tumour-{time.time_ns()}"
    job = api.job({
        "name": name, "model_type": "classifier", "data": {"feature_service": "tumour_v1"}, "params": {"algorithm": "logistic_regression"},
        "register_as": "tumour", "resources": {"cpu": 0.5, "memory": "1Gi"},
    })  # fmt: skip
    assert job["status"] == "completed", job
    found = run_of(job["run_id"])
    metrics = {one["key"]: one["value"] for one in found["data"]["metrics"]}
    assert metrics["accuracy"] > 0.9
    assert found["info"]["artifact_uri"].startswith("mlflow-artifacts:/")

    def registered() -> dict[str, Any] | None:
        items = api.get("/versions", model="tumour")["items"]
        return next((one for one in items if one["run_id"] == job["run_id"]), None)

    version = until(registered, "nothing was registered", 60)
    assert version["digest"].startswith("sha256:")
    with forwarded("ml-platform", "svc/mlflow", 5000) as url:
        versions = httpx.get(
            f"{url}/api/2.0/mlflow/model-versions/search", params={"filter": "name='tumour'"}, trust_env=False
        ).json()["model_versions"]
    assert job["run_id"] in {one["run_id"] for one in versions}


@pytest.mark.shows("B1", "B8", "B11", "B49", "B46", env="cluster")
@pytest.mark.parametrize(("framework", "kind"), [("tensorflow", "tfjobs"), ("pytorch", "pytorchjobs")])
def test_the_training_operator_trains_what_the_api_was_asked_for(
    node: Cluster, installed: Installation, api: Api, framework: str, kind: str
) -> None:
    began = time.monotonic()
    job = api.post("/ai/training/jobs/start", {
        "name": f"digits-{framework}-{time.time_ns()}", "model_type": "command", "backend": "kubeflow", "framework": framework,
        "data": {"feature_service": "none"}, "params": {"command": ["python", "-c", PROGRAM]},
        "resources": {"cpu": 0.5, "memory": "1Gi"},
    })["id"]  # fmt: skip
    seen = until(
        lambda: kubectl("get", kind, "-n", "kubeflow-training", "-l", f"maestro.dev/job-id={job}", "-o", "name"),
        f"no {kind}",
        60,
    )
    started = until(
        lambda: kubectl("get", "pods", "-n", "kubeflow-training", "-l", f"maestro.dev/job-id={job}", "-o", "jsonpath={.items[*].status.containerStatuses[*].state.running.startedAt}{.items[*].status.containerStatuses[*].state.terminated.startedAt}"),
        "no pod started", 120,
    ) and time.monotonic() - began  # fmt: skip
    ended = api.ended(job)
    assert ended["status"] == "completed", ended
    assert started < 120
    metrics = {one["key"]: one["value"] for one in run_of(ended["run_id"])["data"]["metrics"]}
    assert metrics["accuracy"] > 0.9
    lines = [one["message"] for one in api.get(f"/ai/training/jobs/{job}/logs")["items"]]
    assert any("rank 0 of 1" in line for line in lines)
    print(json.dumps({f"{framework}: first container after s": round(started, 1), "job": seen.strip()}))


def command(api: Api, name: str, code: str, **more: Any) -> str:
    """A job of the training operator that runs a program; its id."""
    job = api.post("/ai/training/jobs/start", {
        "name": f"{name}-{time.time_ns()}", "model_type": "command", "backend": "kubeflow", "framework": "tensorflow",
        "data": {"feature_service": "none"}, "params": {"command": ["python", "-c", code]},
        "resources": {"cpu": 0.5, "memory": "512Mi"}, **more,
    })["id"]  # fmt: skip
    return str(job)


def test_a_failing_job_says_why(installed: Installation, api: Api) -> None:
    ended = api.ended(command(api, "failing", "print('about to fail', flush=True); raise SystemExit(3)"))
    assert ended["status"] == "failed"
    assert "exit status 3" in json.dumps(ended["error"])


@pytest.mark.shows("B10", env="cluster")
def test_a_job_whose_pod_is_killed_is_carried_to_its_end(installed: Installation, api: Api) -> None:
    job = command(api, "killed", "import time; print('begun', flush=True); time.sleep(20)", max_retries=2)
    of = ("-n", "kubeflow-training", "-l", f"maestro.dev/job-id={job}")
    until(
        lambda: kubectl("get", "pods", *of, "-o", "jsonpath={.items[*].status.phase}") == "Running", "no pod runs", 60
    )
    kubectl("delete", "pods", *of, "--grace-period=0", "--force")
    ended = api.ended(job)
    assert ended["status"] == "completed", ended


@pytest.mark.shows("B7", env="cluster")
def test_a_job_beyond_the_limit_is_refused_with_the_reason(installed: Installation, api: Api) -> None:
    ended = api.job({
        "name": f"large-{time.time_ns()}", "model_type": "command", "backend": "kubeflow", "framework": "tensorflow",
        "data": {"feature_service": "none"}, "params": {"command": ["python", "-c", "pass"]},
        "resources": {"cpu": 5, "memory": "1Gi"},
    })  # fmt: skip
    assert ended["status"] == "failed"
    assert "4 CPU" in json.dumps(ended["error"])
