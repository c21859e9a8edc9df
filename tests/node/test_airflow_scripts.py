"""Airflow on the node: its scheduler runs a DAG of ours, whose command runs in a pod of its own and retrains by the control plane."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from maestro.clients.kubernetes.objects import Cluster
from tests.cluster.platform_stage import until
from tests.node.installation import Installation
from tests.node.reaching import Api, inside
from tests.node.releases import MODEL, define_features

pytestmark = [pytest.mark.node, pytest.mark.door, pytest.mark.timeout(900)]

DAG = "nightly_retraining"
NIGHT = {"model": MODEL, "feature_service": "tumour_v1", "space": "random_forest", "n_trials": 2, "folds": 2}


def airflow(*words: str) -> str:
    """Airflow's own command, where its API server runs."""
    return inside("ml-platform", "deploy/airflow-api-server", "airflow", *words, container="api-server")


def listed(text: str) -> list[dict[str, Any]]:
    """What a command printed with `-o json`, after whatever it logged."""
    found: list[dict[str, Any]] = json.loads(text[text.index("\n[") if "\n[" in text else text.index("[") :])
    return found


@pytest.mark.shows("B40", "B41", env="cluster")
def test_the_nightly_dag_retrains_by_a_pod_of_its_own(node: Cluster, installed: Installation, api: Api) -> None:
    if "Deployment/airflow-scheduler" in installed.no_image:
        pytest.skip("the node lacks the image of Airflow: make images, with --load")
    define_features()

    def runs() -> dict[str, str]:
        return {one["run_id"]: str(one["state"]) for one in listed(airflow("dags", "list-runs", DAG, "-o", "json"))}

    before = {one["version"] for one in api.get("/versions", model=MODEL, page_size=200)["items"]}
    until(lambda: DAG in airflow("dags", "list", "-o", "json"), "the DAG was not read", 120)
    run = f"node-{time.time_ns()}"
    earlier = set(runs())
    airflow("dags", "unpause", DAG)
    airflow("dags", "trigger", DAG, "--run-id", run, "--conf", json.dumps(NIGHT))
    pods: set[str] = set()

    def ended() -> str | None:
        found = node.list("v1", "Pod", "ml-training", labels={"app.kubernetes.io/name": "airflow-command"})
        pods.update(pod["metadata"]["name"] for pod in found)
        # where it is two o'clock, the night's own run is beside it
        states = runs()
        return states[run] if states.keys() >= {run} and set(states.values()) <= {"success", "failed"} else None

    began = time.monotonic()
    state = until(ended, "the run does not end", 600)
    airflow("dags", "pause", DAG)
    assert state == "success", inside("ml-platform", "deploy/airflow-scheduler", "sh", "-c", LAST_LOG)
    assert pods
    after = {one["version"] for one in api.get("/versions", model=MODEL, page_size=200)["items"]}
    succeeded = sum(state == "success" for name, state in runs().items() if name not in earlier)
    assert 1 <= len(after - before) <= succeeded
    print(json.dumps({"retrained after s": round(time.monotonic() - began), "pods": sorted(pods)}))


LAST_LOG = "find /opt/airflow/logs -name 'attempt=*' -type f | sort | tail -n 1 | xargs tail -c 3000"
