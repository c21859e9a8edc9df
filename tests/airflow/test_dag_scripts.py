"""The DAGs in a real Airflow, against a real platform: parsed, run with parameters, retried, approved by a person."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.airflow.conftest import AIRFLOW, Airflow, Platform
from tests.airflow.losing_proxy import losing

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]
DAGS = {"train_evaluate_register", "tune", "nightly_retraining", "drift_check_then_retrain", "ab_rollout"}
QUICK = {"n_estimators": 10}


def jobs(platform: Platform, name: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {platform.token('submitter')}"}
    found = httpx.get(f"{platform.url}/ai/training/jobs", params={"page_size": 100}, headers=headers).json()["items"]
    return [job for job in found if job["name"] == name]


def versions(platform: Platform, model: str) -> list[str]:
    headers = {"Authorization": f"Bearer {platform.token('submitter')}"}
    found = httpx.get(f"{platform.url}/versions", params={"model": model}, headers=headers).json()["items"]
    return [item["version"] for item in found]


@pytest.mark.shows("B12", env="laptop")
def test_every_dag_parses(airflow: Airflow) -> None:
    airflow.run("dags", "reserialize")
    assert "No data found" in airflow.run("dags", "list-import-errors")
    listed = airflow.run("dags", "list", "-o", "plain")
    assert all(name in listed for name in DAGS)


@pytest.mark.shows("B12", "B22", env="laptop")
def test_train_evaluate_register(calling: Airflow, platform: Platform) -> None:
    printed = calling.test_run(
        "train_evaluate_register",
        {"name": "from-airflow", "params": QUICK, "register_as": "airflow_model", "minimum": 0.8},
    )
    assert "state=success" in printed or "dag_run_state=success" in printed, printed[-3000:]
    assert [job["status"] for job in jobs(platform, "from-airflow")] == ["completed"]
    assert len(versions(platform, "airflow_model")) == 1


def test_a_model_that_is_not_good_enough_fails_the_run(calling: Airflow, platform: Platform) -> None:
    conf: dict[str, Any] = {"name": "poor", "params": QUICK, "register_as": "poor_model", "minimum": 1.1}
    printed = calling.run("dags", "test", "train_evaluate_register", "--conf", json.dumps(conf), status=None)
    assert "below 1.1" in printed


def test_a_wrong_parameter_is_refused_by_its_schema(calling: Airflow) -> None:
    printed = calling.run("dags", "test", "train_evaluate_register", "--conf", json.dumps({"workers": 0}), status=None)
    assert "workers" in printed or "minimum" in printed


@pytest.mark.shows("B12", env="laptop")
def test_a_lost_answer_does_not_submit_twice(calling: Airflow, platform: Platform) -> None:
    with losing(platform.url) as (url, keys):
        calling.test_run(
            "train_evaluate_register",
            {"name": "lost-answer", "params": QUICK, "register_as": "lost"},
            more={"MAESTRO_API_URL": url},
        )
    assert len(keys) == 2
    assert keys[0] == keys[1] != ""
    assert len(jobs(platform, "lost-answer")) == 1


@pytest.mark.shows("B40", "B41", env="laptop")
def test_nightly_retraining_searches_trains_and_raises_the_version(calling: Airflow, platform: Platform) -> None:
    conf = {"model": "nightly_model", "n_trials": 3, "folds": 2}
    for _ in range(2):
        calling.test_run("nightly_retraining", conf)
    found = sorted(versions(platform, "nightly_model"))
    assert len(found) == 2
    assert found[0].startswith("1.") or found[0].startswith("0.")
    assert found[0] != found[1]


@pytest.mark.shows("I14", env="laptop")
@pytest.mark.parametrize("drifts", [False, True])
def test_it_retrains_only_when_something_drifted(
    calling: Airflow, platform: Platform, tmp_path: Path, drifts: bool
) -> None:
    import random

    rng = random.Random(1)
    for name, shift in (("reference", 0.0), ("current", 3.0 if drifts else 0.0)):
        rows = "\n".join(f"{rng.gauss(shift, 1)},{rng.gauss(0, 1)}" for _ in range(3000))
        (tmp_path / f"{name}.csv").write_text("a,b\n" + rows + "\n")
    model = f"drift_{drifts}".lower()
    calling.test_run("drift_check_then_retrain", {
        "reference_data": str(tmp_path / "reference.csv"), "current_data": str(tmp_path / "current.csv"), "model": model, "params": QUICK,
    })  # fmt: skip
    assert len(jobs(platform, f"{model}-drift")) == int(drifts)


@pytest.fixture
def web(calling: Airflow) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [AIRFLOW, "api-server", "--host", "127.0.0.1", "--port", str(port)], env=calling.environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/api/v2/version", timeout=2).is_success:
                break
        except httpx.HTTPError:
            time.sleep(0.5)
    yield url
    server.terminate()
    server.wait(20)


@pytest.mark.shows("H14", env="laptop")
@pytest.mark.parametrize("choice", ["Approve", "Reject"])
def test_a_person_decides_whether_the_rollout_starts(
    calling: Airflow, platform: Platform, web: str, choice: str
) -> None:
    known = versions(platform, "visits")
    conf = {"model": "visits", "version": known[0], "policy": {"apiVersion": "maestro/v1"}, "wait_s": 0}
    process = subprocess.Popen(
        [AIRFLOW, "dags", "test", "ab_rollout", "--conf", json.dumps(conf)], env=calling.environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        token = httpx.get(f"{web}/auth/token").json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        deadline = time.monotonic() + 120
        run = None
        while time.monotonic() < deadline and run is None:
            time.sleep(1)
            waiting = httpx.get(f"{web}/api/v2/dags/ab_rollout/dagRuns/~/hitlDetails", headers=headers).json()
            for item in waiting.get("hitl_details", []):
                if not item.get("response_received"):
                    run = item["task_instance"]["dag_run_id"]
        assert run, "nobody was asked"
        answer = httpx.patch(
            f"{web}/api/v2/dags/ab_rollout/dagRuns/{run}/taskInstances/approve/-1/hitlDetails", headers=headers,
            json={"chosen_options": [choice], "params_input": {}},
        )  # fmt: skip
        assert answer.is_success, answer.text
        printed, _ = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    # the policy of this run is empty, so the platform's own refusal shows that the call was made, and only after approval
    assert ("POST /rollouts: 422" in printed) == (choice == "Approve")
