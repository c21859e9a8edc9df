"""Jobs, studies and experiments over HTTP, on a prepared home; a worker with a real child runs what is submitted."""

from __future__ import annotations

import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient

from maestro.api.app import create_app
from maestro.clients.home import Home
from maestro.core.settings import Settings, TrainingSettings
from maestro.lifecycle.bootstrap import prepare
from maestro.lifecycle.composition import Platform

As = Callable[[str], dict[str, str]]
JOB = {
    "name": "churn",
    "model_type": "classifier",
    "data": {"feature_service": "tumour_v1"},
    "params": {"n_estimators": 10},
}


def prepared(home: Path, shared_home: Home, mlflow_url: str) -> Platform:
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in [name for name in os.environ if name.startswith("MAESTRO_") and "_TEST_" not in name]:
            patch.delenv(name)  # a developer's own settings
        return prepared_by_settings(home, shared_home, mlflow_url)


def prepared_by_settings(home: Path, shared_home: Home, mlflow_url: str) -> Platform:
    """As the environment says."""
    for name in ("data", "features"):
        (home / name).symlink_to(shared_home.root / name)
    options = Settings(home=home, mlflow_url=mlflow_url, training=TrainingSettings(poll_s=0.1, heartbeat_s=0.5))
    return prepare(Home(home), options)


@contextmanager
def at_work(platform: Platform) -> Iterator[None]:
    """Its worker runs."""
    stop = threading.Event()
    thread = threading.Thread(target=platform.training.worker().run, args=(stop,))
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, shared_home: Home, mlflow_url: str) -> Iterator[Platform]:
    """One without a worker, for what ends at the API."""
    platform = prepared(tmp_path_factory.mktemp("still") / "home", shared_home, mlflow_url)
    yield platform
    platform.close()


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory, shared_home: Home, mlflow_url: str) -> Iterator[Platform]:
    """One whose worker has its libraries loaded once for all tests here."""
    platform = prepared(tmp_path_factory.mktemp("working") / "home", shared_home, mlflow_url)
    with at_work(platform):
        yield platform
    platform.close()


def client_of(platform: Platform) -> TestClient:
    return TestClient(create_app(platform), raise_server_exceptions=False)


def tokens_of(platform: Platform) -> As:
    return lambda name: {"Authorization": f"Bearer {(platform.home.keys / f'{name}.token').read_text().strip()}"}


@pytest.fixture
def client(platform: Platform) -> TestClient:
    return client_of(platform)


@pytest.fixture
def by(platform: Platform) -> As:
    return tokens_of(platform)


def finished(client: TestClient, path: str, headers: dict[str, str], within_s: float = 180) -> dict[str, Any]:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(path, headers=headers).json()
        if found["status"] in {"completed", "failed", "cancelled"}:
            return found
        time.sleep(0.2)
    raise AssertionError(found)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.shows("A5", "A7", "A8", "B15", "B16", "B21", "B22", "D1", "D3", "D17", "L5", "N5", env="laptop")
def test_a_job_from_submission_to_its_run(working: Platform) -> None:
    client, me = client_of(working), tokens_of(working)("submitter")
    before = client.get("/ai/training/stats", headers=me).json()["by_status"].get("completed", 0)
    started = client.post("/ai/training/jobs/start", json=JOB, headers=me | {"Idempotency-Key": "k"})
    assert started.status_code == 202
    job_id = started.json()["id"]
    assert (
        client.post("/ai/training/jobs/start", json=JOB, headers=me | {"Idempotency-Key": "k"}).json()["id"] == job_id
    )
    kinds, messages = [], []
    with client.stream("GET", f"/ai/training/jobs/{job_id}/progress", headers=me) as stream:
        for line in stream.iter_lines():
            if line.startswith("event: "):
                kinds.append(line.removeprefix("event: "))
            if line.startswith("data: "):
                messages.append(json.loads(line.removeprefix("data: "))["message"])
    assert kinds[-1] == "end"
    # which steps a stream shows depends on how fast they are
    assert "completed" in messages
    assert len(set(messages)) > 1
    job = client.get(f"/ai/training/jobs/{job_id}", headers=me).json()
    assert (job["status"], job["progress"], job["submitted_by"]) == ("completed", 1.0, "human:submitter")
    assert job["result"]["metrics"]["f1"] > 0.85
    assert job["cost_usd_micros"] == job["result"]["bill"]["bill_usd_micros"] > 0
    assert job["model_uri"].startswith("models:/m-")
    lines = client.get(f"/ai/training/jobs/{job_id}/logs", headers=me).json()["items"]
    assert any("loaded 569 rows from tumour_v1" in line["message"] for line in lines)
    experiments = client.get("/ai/experiments", headers=me).json()["items"]
    (experiment,) = (item["id"] for item in experiments if item["name"] == JOB["name"])
    summary = client.get(f"/ai/experiments/{experiment}/summary", headers=me).json()["metrics"]
    assert job["result"]["metrics"]["f1"] in [item["highest"] for item in summary if item["metric"] == "f1"]
    runs = client.get(f"/ai/experiments/{experiment}/runs", headers=me).json()["items"]
    assert job["run_id"] in [run["id"] for run in runs]
    series = client.get(f"/ai/experiments/runs/{job['run_id']}/metrics/f1", headers=me).json()
    assert [point["value"] for point in series["points"]] == [job["result"]["metrics"]["f1"]]
    stats = client.get("/ai/training/stats", headers=me).json()
    assert stats["by_status"]["completed"] == before + 1
    failing = client.post("/ai/training/jobs/start", json=JOB | {"params": {"n_trees": 3}}, headers=me).json()
    failed = finished(client, f"/ai/training/jobs/{failing['id']}", me)
    assert (failed["status"], failed["error"]["field"]) == ("failed", "params.n_trees")
    assert failed["attempt"] == 1


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.shows("D18", env="laptop")
def test_a_model_that_cannot_be_logged_costs_no_metric(working: Platform, mlflow_folder: Path) -> None:
    client, me = client_of(working), tokens_of(working)("submitter")
    name = f"blocked-{os.getpid()}"
    experiment = client.post("/ai/experiments", json={"name": name}, headers=me).json()
    # where this experiment's models would go lies a file: the artifact store refuses every upload of one
    place = mlflow_folder / "artifacts" / experiment["mlflow_experiment_id"]
    place.mkdir(parents=True, exist_ok=True)
    (place / "models").write_text("in the way")
    started = client.post("/ai/training/jobs/start", json=JOB | {"name": name}, headers=me).json()
    job = finished(client, f"/ai/training/jobs/{started['id']}", me)
    assert job["status"] == "completed", job
    assert job["message"].startswith("completed; missing: model: ")
    assert job["result"]["missing"][0].startswith("model: ")
    assert job.get("model_uri") is None
    run = client.get(f"/ai/experiments/runs/{job['run_id']}", headers=me).json()
    assert run["metrics"]["f1"] == job["result"]["metrics"]["f1"] > 0.85
    assert run["metrics"]["cost_usd"] > 0
    assert run["params"]["n_estimators"] == "10"
    lines = client.get(f"/ai/training/jobs/{started['id']}/logs", headers=me, params={"level": "error"}).json()["items"]
    assert any("model was not logged" in line["message"] for line in lines)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"backend": "slurm"}, "backend"),
        ({"backend": "kubeflow"}, "backend"),
        ({"trial_memory": "much"}, "trial_memory"),
        ({"sampler": "cmaes", "objectives": ["accuracy", "f1"]}, "sampler"),
        ({"selection_weights": [-1.0]}, "selection_weights.0"),
        ({"space": "cats", "dimensions": {"x": {"kind": "int", "low": 1, "high": 2}}}, "space"),
        ({"space": "command", "dimensions": {"x": {"kind": "int", "low": 1, "high": 2}}}, "space"),
        ({"space": "regressor"}, "dimensions"),
        ({"params": {"max_depth": 3}}, "params.max_depth"),
        ({"dimensions": {"x": {"kind": "float", "low": -1e308, "high": 1e308}}}, "dimensions.x"),
    ],
)
def test_a_study_for_what_is_not_here_names_the_field(
    fields: dict[str, Any], field: str, client: TestClient, by: As
) -> None:
    body = {"name": "s", "data": {"feature_service": "tumour_v1"}} | fields
    answer = client.post("/ai/hpo/studies/start", json=body, headers=by("submitter"))
    assert answer.status_code == 422, answer.text
    assert field in answer.json()["field"]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.shows("C1", "C7", "C8", "C9", "C10", "C11", "C12", "C13", "L5", env="laptop")
def test_a_study_runs_as_a_job_and_is_resumed(
    working: Platform, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL, three trials at once."""
    storage = f"optuna_{os.getpid()}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{storage}"'.encode())
    monkeypatch.setenv("MAESTRO_OPTUNA_URL", postgres_url.replace("/postgres?", f"/{storage}?"))
    client, by = client_of(working), tokens_of(working)
    me = by("submitter")
    spaces = client.get("/ai/hpo/spaces", headers=me).json()
    assert spaces["forecast"]["dimensions"]["learning_rate"] == {"kind": "float", "low": 0.01, "high": 0.3, "log": True}
    assert spaces["anomaly"]["dimensions"]["max_samples"]["values"] == ["auto", 256, 512, 1024]
    study = {
        "name": "depth", "data": {"feature_service": "tumour_v1"}, "n_trials": 5, "n_jobs": 3, "pruner": "none",
        "dimensions": {"n_estimators": {"kind": "int", "low": 2, "high": 10}, "max_depth": {"kind": "int", "low": 1, "high": 5}},
    }  # fmt: skip
    started = client.post("/ai/hpo/studies/start", json=study, headers=me)
    assert started.status_code == 202, started.text
    study_id = started.json()["id"]
    assert client.post("/ai/hpo/studies/start", json=study, headers=me).status_code == 409
    assert client.get(f"/ai/hpo/studies/{study_id}/best", headers=me).status_code == 404
    done = finished(client, f"/ai/hpo/studies/{study_id}", me)
    assert (done["status"], done["trials"]) == ("completed", 5), done
    best = client.get(f"/ai/hpo/studies/{study_id}/best", headers=me).json()["best"]
    assert best["values"]["accuracy"] > 0.8
    assert set(client.get(f"/ai/hpo/studies/{study_id}/importance", headers=me).json()["importance"]) == {
        "n_estimators",
        "max_depth",
    }
    trials = client.get(f"/ai/hpo/studies/{study_id}/trials", headers=me, params={"page_size": 3}).json()
    assert trials["total"] == 5
    assert [trial["number"] for trial in trials["items"]] == [0, 1, 2]
    assert all(trial["run_id"] and trial["state"] == "complete" for trial in trials["items"])
    for trial in trials["items"]:
        assert trial["wall_s"] > 0
        assert trial["cpu_s"] > 0
        assert trial["peak_memory_bytes"] > 2**20
        assert trial["cost_usd_micros"] >= 0
    history = client.get(f"/ai/hpo/studies/{study_id}/history", headers=me).json()["points"]
    assert [point["number"] for point in history] == list(range(5))
    assert history[-1]["best"] == best["values"]["accuracy"] == max(point["value"] for point in history)
    front = client.get(f"/ai/hpo/studies/{study_id}/front", headers=me).json()["trials"]
    assert best["number"] in [trial["number"] for trial in front]
    page = client.get(f"/ai/hpo/studies/{study_id}/report", headers=me)
    assert page.headers["content-type"].startswith("text/html")
    assert "<h1>Study depth</h1>" in page.text
    other = client.post("/ai/hpo/studies/start", json=study | {"objectives": ["f1"]}, headers=me)
    assert (other.status_code, other.json()["field"]) == (422, "objectives"), "its trials are not comparable"
    assert client.post("/ai/hpo/studies/start", json=study | {"n_trials": 6}, headers=me).status_code == 202
    assert finished(client, f"/ai/hpo/studies/{study_id}", me)["trials"] == 6
    assert client.post(f"/ai/hpo/studies/{study_id}/train", json={}, headers=by("reviewer")).status_code == 403
    best_job = client.post(
        f"/ai/hpo/studies/{study_id}/train", json={"name": "nightly"}, headers=me | {"Idempotency-Key": "night-1"}
    ).json()
    wanted = client.get(f"/ai/hpo/studies/{study_id}/best", headers=me).json()["best"]["params"]
    assert (
        best_job["request"]["params"].items() >= (wanted | {"algorithm": "random_forest", "study_id": study_id}).items()
    )
    trained = finished(client, f"/ai/training/jobs/{best_job['id']}", me)
    assert (trained["status"], trained["name"]) == ("completed", "nightly"), trained
    report = client.get("/cost/report", headers=by("user")).json()
    assert {item["name"] for item in report["by_kind"]} == {"tuning", "training"}, "a study is billed as tuning"
    (cost,) = report["by_study"]
    assert cost["study_id"] == study_id
    assert len(cost["trials"]) == 6
    assert sum(part["usd_micros"] for part in cost["trials"]) + cost["rest_usd_micros"] == cost["bill_usd_micros"]


@pytest.mark.shows("N5", env="laptop")
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"backend": "mxnet"}, "backend"),
        ({"backend": "slurm"}, "backend"),
        ({"model_type": "oracle"}, "model_type"),
        ({"data": {"feature_service": "cats_v1"}}, "data.feature_service"),
        ({"data": {"feature_service": "tumour_v1", "from": "2026-05-01", "to": "2026-04-01"}}, "data.to"),
        ({"data": {"feature_service": "file"}}, "data.entities"),
        ({"priority": "soon"}, "priority"),
        ({"resources": {"memory": "2GB"}}, "resources.memory"),
        ({"resources": {"gpu": 1}}, "resources.gpu"),
        ({"epochs": 3}, "epochs"),
    ],
)
def test_a_wrong_job_is_refused_at_once_with_its_field(
    change: dict[str, object], field: str, client: TestClient, by: As
) -> None:
    refused = client.post("/ai/training/jobs/start", json=JOB | change, headers=by("submitter"))
    assert refused.status_code == 422, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["field"] == field
    assert refused.json()["remedy"]


def test_cancel_retry_and_filters(client: TestClient, by: As) -> None:
    me = by("submitter")
    ids = [
        client.post("/ai/training/jobs/start", json=JOB | {"priority": priority}, headers=me).json()["id"]
        for priority in ("low", "urgent")
    ]
    place = client.get(f"/ai/training/jobs/{ids[0]}", headers=me).json()
    assert place["queue"]["position"] == 2
    assert place["estimate"]["price_usd_micros"] > 0
    cancelled = client.delete(f"/ai/training/jobs/{ids[0]}", headers=me)
    assert cancelled.json()["status"] == "cancelled"
    assert client.delete(f"/ai/training/jobs/{ids[0]}", headers=me).status_code == 409
    again = client.post(f"/ai/training/jobs/{ids[0]}/retry", headers=me)
    assert (again.status_code, again.json()["retry_of"]) == (202, ids[0])
    listed = client.get("/ai/training/jobs", params={"status": "queued", "priority": "urgent"}, headers=me).json()
    assert [job["id"] for job in listed["items"]] == [ids[1]]
    assert client.get("/ai/training/jobs", params={"page_size": 500}, headers=me).status_code == 422
    with client.stream("GET", f"/ai/training/jobs/{ids[1]}/progress", params={"timeout_s": 0}, headers=me) as stream:
        text = stream.read().decode()
    assert "event: progress" in text
    assert text.rstrip().rpartition("\n\n")[2].startswith("event: timeout")
    assert client.get("/ai/training/jobs/job-nobody", headers=me).status_code == 404
    assert client.get("/ai/training/jobs").status_code == 401
    assert client.post("/ai/training/jobs/start", json=JOB, headers=by("reviewer")).status_code == 403


def test_experiments_are_created_once_and_unknown_runs_are_not_found(client: TestClient, by: As) -> None:
    me = by("submitter")
    name = f"e-{os.getpid()}"
    created = client.post(
        "/ai/experiments", json={"name": name, "tags": {"team": "a"}, "git_commit": "abcdef1"}, headers=me
    )
    assert created.status_code == 201
    assert client.post("/ai/experiments", json={"name": name}, headers=me).status_code == 409
    found = client.get(f"/ai/experiments/{created.json()['id']}", headers=me).json()
    assert (found["git_commit"], found["tags"]) == ("abcdef1", {"team": "a"})
    missing = client.get(f"/ai/experiments/runs/{'0' * 32}", headers=me)
    assert (missing.status_code, missing.json()["field"]) == (404, "run_id")


def test_mlflow_that_is_gone_is_a_503_with_its_remedy(platform: Platform, by: As) -> None:
    gone = Platform(platform.settings.model_copy(update={"mlflow_url": "http://127.0.0.1:9"}))
    client = TestClient(create_app(gone), raise_server_exceptions=False)
    refused = client.post("/ai/experiments", json={"name": "x"}, headers=by("submitter"))
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert "MLflow at http://127.0.0.1:9" in refused.json()["detail"]
    gone.close()


@pytest.fixture(autouse=True)
def _libraries_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
