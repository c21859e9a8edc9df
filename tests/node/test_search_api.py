"""A study whose trials are pods of the node, through the API: two at once, measured as processes are, accounted, recorded, and gone at the end."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from maestro.clients.kubernetes.objects import Cluster
from tests.cluster.platform_stage import until
from tests.node.installation import Installation
from tests.node.reaching import Api, inside, run_of

pytestmark = [pytest.mark.node, pytest.mark.timeout(900)]

PLACE = "kubeflow-training"
STUDY: dict[str, Any] = {
    "data": {"feature_service": "tumour_v1"}, "n_trials": 4, "n_jobs": 2, "sampler": "random", "pruner": "none", "folds": 2,
    "dimensions": {"n_estimators": {"kind": "int", "low": 5, "high": 60}, "max_depth": {"kind": "int", "low": 1, "high": 6}},
    "backend": "kubeflow", "trial_cpu": 0.15, "trial_memory": "448Mi",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _features(installed: Installation) -> None:
    inside(
        "ml-platform", "deploy/control-plane-worker", "maestro", "features", "apply", "--dataset", "tumour", "--json"
    )


def pods_of(node: Cluster, study: str) -> list[dict[str, Any]]:
    """The pods of a study's trials."""
    pods = node.list("v1", "Pod", PLACE, labels="maestro.dev/trial")
    return [pod for pod in pods if pod["metadata"]["labels"]["maestro.dev/job-id"].startswith(study)]


@pytest.mark.shows("C1", "C3", "C7", "C8", "C9", "C11", "C13", env="cluster")
def test_a_study_of_four_trials_two_at_once(node: Cluster, api: Api) -> None:
    study = api.post("/ai/hpo/studies/start", STUDY | {"name": f"pods-{time.time_ns()}"})
    together, over = [0], threading.Event()

    def count() -> None:
        while not over.wait(0.5):
            running = [pod for pod in pods_of(node, study["id"]) if pod["status"]["phase"] == "Running"]
            together[0] = max(together[0], len(running))

    watching = threading.Thread(target=count)
    watching.start()
    try:
        job = api.ended(study["job_id"], 600)
    finally:
        over.set()
        watching.join()
    assert job["status"] == "completed", job
    assert together[0] == 2
    found = api.get(f"/ai/hpo/studies/{study['id']}")
    assert found["trials"] == 4
    trials = api.get(f"/ai/hpo/studies/{study['id']}/trials")["items"]
    for trial in trials:
        assert trial["state"] == "complete", trial
        assert trial["values"][0] > 0.8
        assert trial["cpu_s"] > 0
        assert trial["wall_s"] > trial["seconds"] > 0
        assert trial["peak_memory_bytes"] > 50 * 2**20
        assert trial["cost_usd_micros"] > 0
        tags = {one["key"]: one["value"] for one in run_of(trial["run_id"])["data"]["tags"]}
        assert tags["mlflow.parentRunId"] == found["run_id"]
    history = api.get(f"/ai/hpo/studies/{study['id']}/history")["points"]
    assert history[-1]["best"] == found["best"]["values"]["accuracy"]
    until(lambda: not pods_of(node, study["id"]), "its pods are gone", 60)
    print({"trials": [{name: trial[name] for name in ("wall_s", "cpu_s", "seconds")} for trial in trials]})


@pytest.mark.shows("C7", env="cluster")
def test_cancelling_a_study_ends_its_pods(node: Cluster, api: Api) -> None:
    endless = {"n_estimators": {"kind": "int", "low": 200_000, "high": 300_000}}
    body = STUDY | {"name": f"endless-{time.time_ns()}", "dimensions": endless, "pruner": "median"}
    study = api.post("/ai/hpo/studies/start", body)
    until(
        lambda: [pod["status"]["phase"] for pod in pods_of(node, study["id"])] == ["Running"] * 2, "two pods run", 240
    )
    api.delete(f"/ai/hpo/studies/{study['id']}")
    assert api.ended(study["job_id"], 120)["status"] == "cancelled"
    until(lambda: not pods_of(node, study["id"]), "its pods are gone", 90)


@pytest.mark.shows("C7", env="cluster")
def test_a_trial_over_its_time_is_ended_in_its_pod(node: Cluster, api: Api) -> None:
    endless = {"n_estimators": {"kind": "int", "low": 200_000, "high": 300_000}}
    name = f"late-{time.time_ns()}"
    body = STUDY | {"name": name, "dimensions": endless, "n_trials": 1, "trial_timeout_s": 4.0, "trial_cpu": 0.4}
    study = api.post("/ai/hpo/studies/start", body)
    assert api.ended(study["job_id"], 300)["status"] == "completed"
    (trial,) = api.get(f"/ai/hpo/studies/{study['id']}/trials")["items"]
    assert trial["state"] == "pruned", trial
    assert trial["cpu_s"] > 1.0
    assert trial["wall_s"] < 4.0 + 121.0
