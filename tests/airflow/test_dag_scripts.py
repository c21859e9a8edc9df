"""The DAGs in a real Airflow, against a real platform: parsed, run with parameters, retried, approved by a person."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.airflow.conftest import AIRFLOW, DAGS, ROOT, Airflow, Platform
from tests.airflow.losing_proxy import losing

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]
NAMES = {"train_evaluate_register", "tune", "nightly_retraining", "drift_check_then_retrain", "ab_rollout"}
QUICK = {"n_estimators": 10}


def asked(platform: Platform, path: str, *, actor: str = "submitter", body: Any = None) -> Any:
    """What the platform's API answers; with a body by POST."""
    headers = {"Authorization": f"Bearer {platform.token(actor)}"}
    answer = httpx.request(
        "GET" if body is None else "POST", platform.url + path, json=body, headers=headers, timeout=60
    )
    assert answer.is_success, answer.text
    return answer.json()


def jobs(platform: Platform, name: str) -> list[dict[str, Any]]:
    found = asked(platform, "/ai/training/jobs?page_size=100")["items"]
    return [job for job in found if job["name"] == name]


def versions(platform: Platform, model: str) -> list[str]:
    """Newest first."""
    return [item["version"] for item in asked(platform, f"/versions?model={model}")["items"]]


def rollouts(platform: Platform, challenger: str) -> list[dict[str, Any]]:
    """Those of the model that the platform came up with, by the version that is tried."""
    found = [item.get("rollout", item) for item in asked(platform, "/rollouts?model=visits")["items"]]
    return [item for item in found if item["challenger"] == challenger]


@pytest.mark.shows("B12", env="laptop")
def test_every_dag_parses(airflow: Airflow) -> None:
    airflow.run("dags", "reserialize")
    assert "No data found" in airflow.run("dags", "list-import-errors")
    listed = airflow.run("dags", "list", "-o", "plain")
    assert all(name in listed for name in NAMES)


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


@pytest.mark.shows("B12", "C12", env="laptop")
def test_a_search_is_run_and_tells_its_best(calling: Airflow, platform: Platform) -> None:
    calling.test_run("tune", {"study": "from-airflow", "n_trials": 3})
    (study,) = [item for item in asked(platform, "/ai/hpo/studies")["items"] if item["name"] == "from-airflow"]
    assert (study["status"], study["trials"]) == ("completed", 3)
    assert study["best"]["values"]["accuracy"] > 0.8


@pytest.mark.shows("B40", "B41", "C12", env="laptop")
def test_nightly_retraining_searches_trains_and_raises_the_version(calling: Airflow, platform: Platform) -> None:
    conf = {"model": "nightly_model", "n_trials": 3, "folds": 2}
    for _ in range(2):
        calling.test_run("nightly_retraining", conf)
    assert set(versions(platform, "nightly_model")) in ({"1.0.0", "1.0.1"}, {"1.0.0", "1.1.0"})
    studies = [
        item for item in asked(platform, "/ai/hpo/studies")["items"] if item["name"].startswith("nightly_model-")
    ]
    assert [(study["status"], study["trials"], study["request"]["folds"]) for study in studies] == [
        ("completed", 3, 2)
    ] * 2
    assert {study["request"]["pruner"] for study in studies} == {"hyperband"}


@pytest.mark.shows("B40", env="laptop")
def test_it_is_scheduled_for_two_at_night(airflow: Airflow) -> None:
    airflow.run("dags", "reserialize")
    assert "0 2 * * *" in airflow.run("dags", "details", "nightly_retraining", "-o", "plain")


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
def web(airflow: Airflow) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [AIRFLOW, "api-server", "--host", "127.0.0.1", "--port", str(port)], env=airflow.environment, stdout=subprocess.DEVNULL,
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


@pytest.fixture(scope="module")
def challenger(airflow: Airflow, platform: Platform) -> tuple[str, dict[str, Any]]:
    """A second version of the model that the platform came up with, trained by a DAG, approved for a policy."""
    conf = {
        "name": "challenger", "feature_service": "visits_v1", "register_as": "visits", "minimum": 0.1,
        "params": {"algorithm": "gradient_boosting", "n_estimators": 60},
    }  # fmt: skip
    airflow.calling(platform, "submitter").test_run("train_evaluate_register", conf)
    policy: dict[str, Any] = yaml.safe_load((ROOT / "governance/policies/demo.yaml").read_text())
    newest = versions(platform, "visits")[0]
    body = {"model": "visits", "version": newest, "policy": policy}
    approval = asked(platform, "/approvals", body=body)
    assert approval["status"] == "pending", approval
    answered = asked(platform, f"/approvals/{approval['id']}/approve", actor="reviewer", body={"comment": "read"})
    assert answered["status"] == "approved"
    return newest, policy


@pytest.mark.shows("H14", env="laptop")
@pytest.mark.parametrize("choice", ["Reject", "Approve"])
def test_a_person_decides_whether_the_rollout_starts(
    airflow: Airflow, platform: Platform, web: str, challenger: tuple[str, dict[str, Any]], choice: str
) -> None:
    version, policy = challenger
    conf = {"model": "visits", "version": version, "policy": policy, "wait_s": 0}
    process = subprocess.Popen(
        [AIRFLOW, "dags", "test", "ab_rollout", "--conf", json.dumps(conf)], env=airflow.calling(platform, "service").environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
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
        assert not rollouts(platform, version), "nothing moves before a person agrees"
        answer = httpx.patch(
            f"{web}/api/v2/dags/ab_rollout/dagRuns/{run}/taskInstances/approve/-1/hitlDetails", headers=headers,
            json={"chosen_options": [choice], "params_input": {}},
        )  # fmt: skip
        assert answer.is_success, answer.text
        printed, _ = process.communicate(timeout=180)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    started = rollouts(platform, version)
    if choice == "Reject":
        assert not started, printed[-3000:]
        return
    assert [item["status"] for item in started] == ["running"], printed[-3000:]
    assert "running" in printed
    asked(platform, f"/rollouts/{started[0]['id']}/abort", actor="service", body={"reason": "the test is over"})


def test_on_a_cluster_the_commands_become_pods(airflow: Airflow) -> None:
    """What the DAG would create; the pods themselves need a cluster."""
    program = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "import nightly_retraining as night, drift_check_then_retrain as drift\n"
        "for dag, task in ((night.nightly_retraining(), 'retrain'), (drift.drift_check_then_retrain(), 'drifted')):\n"
        "    operator = dag.get_task(task)\n"
        "    print('POD', json.dumps({'command': operator.cmds, 'args': operator.arguments, 'skipped': sorted(operator.skip_on_exit_code),\n"
        "        'memory': operator.container_resources.limits['memory'], 'token': operator.automount_service_account_token,\n"
        "        'variables': dict(operator.env_vars),\n"
        "        'secrets': [[item.deploy_target, item.secret, item.key] for item in operator.secrets]}))\n"
    )
    environment = airflow.environment | {
        "MAESTRO_AIRFLOW_IMAGE": "registry.example/control-plane:1", "MAESTRO_AIRFLOW_SECRET": "airflow-maestro-key",
        "MAESTRO_API_URL": "http://control-plane-api.ml-platform:8080",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program, str(DAGS)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    pods = [json.loads(line.removeprefix("POD ")) for line in done.stdout.splitlines() if line.startswith("POD ")]
    for pod, (verb, skips) in zip(pods, (("train", []), ("drift", [1])), strict=True):
        assert (pod["command"], pod["args"][0], pod["skipped"]) == (["maestro"], verb, skips)
        assert (pod["memory"], pod["token"]) == ("2Gi", False)
        assert pod["variables"] == {"MAESTRO_API_URL": environment["MAESTRO_API_URL"]}
        assert pod["secrets"] == [["MAESTRO_API_KEY", "airflow-maestro-key", "api-key"]]
