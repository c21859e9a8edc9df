"""Studies whose trials are jobs of the training operator, through the API and the CLI; a stand-in for the kubelet runs each pod's own command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from maestro.clients.home import Home
from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.clients.optuna import Studies
from maestro.core.settings import settings
from maestro.lifecycle.composition import Platform
from maestro.training.search.result import result_of
from maestro.training.search.scoring import trial_micros
from tests.cluster.platform_stage import until
from tests.cluster.pod_player import PodPlayer, pod_player
from tests.cluster.test_control_training import place  # noqa: F401 - a fixture
from tests.training.conftest import mlflow_folder, mlflow_url, shared_home  # noqa: F401 - fixtures
from tests.training.test_api import As, at_work, client_of, finished, prepared_by_settings, tokens_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

STUDY: dict[str, Any] = {
    "data": {"feature_service": "tumour_v1"}, "n_trials": 4, "n_jobs": 2, "sampler": "random", "pruner": "none", "folds": 2,
    "dimensions": {"n_estimators": {"kind": "int", "low": 5, "high": 60}, "max_depth": {"kind": "int", "low": 1, "high": 6}},
}  # fmt: skip
IN_CLUSTER = {"backend": "kubeflow", "trial_cpu": 0.5, "trial_memory": "512Mi"}


@pytest.fixture(autouse=True)
def in_cluster(place: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: F811
    """Jobs of bare pods in the namespace of these tests."""
    for name, value in {
        "BACKENDS": '["kubeflow"]', "NAMESPACE": place, "IMAGE": "localhost/none:1", "SERVICE_ACCOUNT": "default",
        "PRIORITY_CLASSES": "{}", "GRACE_S": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"MAESTRO_CLUSTER__TRAINING__{name}", value)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def platform(home: Path, shared_home: Home, mlflow_url: str) -> Iterator[Platform]:  # noqa: F811
    """One whose worker offers what these tests' settings name."""
    platform = prepared_by_settings(home, shared_home, mlflow_url)
    yield platform
    platform.close()


@pytest.fixture
def client(platform: Platform) -> TestClient:
    return client_of(platform)


@pytest.fixture
def by(platform: Platform) -> As:
    return tokens_of(platform)


@pytest.fixture
def working(platform: Platform) -> Iterator[None]:
    with at_work(platform):
        yield


@pytest.fixture
def player(cluster: Cluster, place: str, tmp_path: Path) -> Iterator[PodPlayer]:  # noqa: F811
    root = tmp_path / "pods"
    root.mkdir()
    with pod_player(cluster, place, root) as playing:
        yield playing


def nothing_left(cluster: Cluster, namespace: str) -> bool:
    """Whether no record, job or pod of a trial is there."""
    return not any(
        cluster.list(version, kind, namespace, labels="maestro.dev/trial")
        for version, kind in (("v1", "ConfigMap"), ("kubeflow.org/v1", "PyTorchJob"), ("v1", "Pod"))
    )


@pytest.mark.shows("C1", "C7", "C8", "C13", env="cluster", accepted="a container runtime")
def test_trials_that_are_pods_come_to_what_processes_come_to(
    client: TestClient, by: As, working: None, platform: Platform, player: PodPlayer, cluster: Cluster, place: str,  # noqa: F811
) -> None:  # fmt: skip
    me = by("submitter")
    found = {}
    for name, where in {"in-processes": {}, "in-pods": IN_CLUSTER}.items():
        started = client.post("/ai/hpo/studies/start", json=STUDY | {"name": name} | where, headers=me)
        assert started.status_code == 202, started.text
        study = started.json()["id"]
        done = finished(client, f"/ai/hpo/studies/{study}", me, 300)
        assert (done["status"], done["trials"]) == ("completed", 4), done
        found[name] = client.get(f"/ai/hpo/studies/{study}/trials", headers=me).json()["items"]
    assert [trial["params"] for trial in found["in-pods"]] == [trial["params"] for trial in found["in-processes"]]
    assert [trial["values"] for trial in found["in-pods"]] == [trial["values"] for trial in found["in-processes"]]
    assert sorted(player.played.values()) == ["0", "1", "2", "3"], "each trial was one pod"
    assert player.most == 2
    for trial in found["in-pods"]:
        assert trial["state"] == "complete"
        assert trial["wall_s"] > trial["seconds"]
        assert trial["cpu_s"] > 0
        assert trial["peak_memory_bytes"] > 2**20
        assert trial["cost_usd_micros"] == trial_micros(trial["wall_s"], 0.5)
        assert platform.training.tracking.run(trial["run_id"]).tags["mlflow.parentRunId"] == done["run_id"]
    job = client.get(f"/ai/training/jobs/{done['job_id']}", headers=me).json()
    assert job["result"]["bill"]["cpu_s"] > sum(trial["cpu_s"] for trial in found["in-pods"]), "pods are accounted"
    assert job["result"]["bill"]["cores"] == 1.0, "two trials of half a core at once"
    assert nothing_left(cluster, place)
    assert [item.path for item in platform.training.tracking.client.list_artifacts(done["run_id"], "search")] == []


def test_a_cancelled_study_leaves_no_pod(
    client: TestClient, by: As, working: None, player: PodPlayer, cluster: Cluster, place: str  # noqa: F811
) -> None:  # fmt: skip
    me = by("submitter")
    endless = {"n_estimators": {"kind": "int", "low": 200_000, "high": 300_000}}
    body = STUDY | {"name": "endless", "dimensions": endless} | IN_CLUSTER
    study = client.post("/ai/hpo/studies/start", json=body, headers=me).json()
    until(lambda: len(player.played) == 2, "two pods run", 90)
    job = cluster.list("kubeflow.org/v1", "PyTorchJob", place, labels="maestro.dev/trial")[0]
    labels, spec = job["metadata"]["labels"], job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    assert labels["maestro.dev/study"] == "endless"
    assert labels["maestro.dev/job-id"].startswith(study["id"])
    assert job["metadata"]["annotations"]["maestro.dev/submitted-by"] == "human:submitter"
    assert spec["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "512Mi"}
    assert client.delete(f"/ai/hpo/studies/{study['id']}", headers=me).status_code == 200
    assert finished(client, f"/ai/hpo/studies/{study['id']}", me)["status"] == "cancelled"
    until(lambda: nothing_left(cluster, place), "its pods are gone", 60)


def test_a_trial_over_its_time_ends_by_itself_and_says_what_it_used(
    client: TestClient, by: As, working: None, player: PodPlayer, cluster: Cluster, place: str  # noqa: F811
) -> None:  # fmt: skip
    me = by("submitter")
    late = STUDY | {
        "name": "late", "n_trials": 2, "trial_timeout_s": 2.0, "dimensions": {"n_estimators": {"kind": "int", "low": 200_000, "high": 300_000}},
    } | IN_CLUSTER  # fmt: skip
    study = client.post("/ai/hpo/studies/start", json=late, headers=me).json()["id"]
    finished(client, f"/ai/hpo/studies/{study}", me)
    for trial in client.get(f"/ai/hpo/studies/{study}/trials", headers=me).json()["items"]:
        assert trial["state"] == "pruned"
        assert trial["cpu_s"] > 1.5, "its own process accounted for it"
        assert trial["wall_s"] < 60
    assert nothing_left(cluster, place)


@pytest.fixture
def search(home: Path, shared_home: Home, mlflow_url: str) -> Iterator[Callable[[], subprocess.Popen[str]]]:  # noqa: F811
    """Starts `maestro tune run` on trials that are jobs."""
    for name in ("data", "features"):
        (home / name).symlink_to(shared_home.root / name)
    started: list[subprocess.Popen[str]] = []
    words = (
        "tune", "run", "--study-name", "killed", "--features", "tumour_v1", "--n-trials", "4", "--n-jobs", "2", "--backend", "kubeflow",
        "--trial-cpu", "0.5", "--trial-memory", "512Mi", "--sampler", "random", "--pruner", "none", "--json",
    )  # fmt: skip

    def start() -> subprocess.Popen[str]:
        environment = os.environ | {"MAESTRO_HOME": str(home), "MAESTRO_MLFLOW_URL": mlflow_url}
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "maestro", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.shows("C9", env="cluster", accepted="a container runtime")
def test_a_search_that_is_killed_finds_its_pods_again(
    search: Callable[[], subprocess.Popen[str]], player: PodPlayer, cluster: Cluster, place: str, home: Path  # noqa: F811
) -> None:  # fmt: skip
    """What ran goes on while nobody looks, is not submitted again, and what came of it is not lost."""
    player.held.set()
    first = search()
    until(lambda: len(player.pods()) == 2, "two pods", 90)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = {pod["metadata"]["uid"] for pod in player.pods()}
    player.held.clear()
    until(lambda: all(pod["status"]["phase"] == "Succeeded" for pod in player.pods()), "they end by themselves", 90)
    again = search()
    out, error = again.communicate(timeout=200)
    assert again.returncode == 0, error
    assert json.loads(out)["complete"] == 4
    assert before <= set(player.played)
    assert sorted(player.played.values()) == ["0", "1", "2", "3"], "no trial was two pods"
    trials = result_of(Studies(f"sqlite:///{home / 'optuna.db'}"), "killed")[2]
    assert [trial.state for trial in trials] == ["complete"] * 4
    until(lambda: nothing_left(cluster, place), "its records are gone", 20)


def test_a_pod_that_is_not_let_in_says_why_in_the_study_s_log(
    client: TestClient, by: As, working: None, cluster: Cluster, place: str  # noqa: F811
) -> None:  # fmt: skip
    me = by("submitter")
    limits = {
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small", "namespace": place},
        "spec": {"limits": [{"type": "Container", "max": {"memory": "128Mi"}}]},
    }  # fmt: skip
    made = cluster.create(limits)
    try:
        study = client.post("/ai/hpo/studies/start", json=STUDY | {"name": "refused"} | IN_CLUSTER, headers=me).json()
        began = time.monotonic()
        until(
            lambda: (
                "maximum memory usage"
                in str(client.get(f"/ai/training/jobs/{study['job_id']}/logs", headers=me).json())
            ),
            "it says why",
            60,
        )
        assert time.monotonic() - began < 60
        client.delete(f"/ai/hpo/studies/{study['id']}", headers=me)
        assert finished(client, f"/ai/hpo/studies/{study['id']}", me)["status"] == "cancelled"
        until(lambda: nothing_left(cluster, place), "nothing is left", 60)
    finally:
        cluster.delete(Ref.of(made))
