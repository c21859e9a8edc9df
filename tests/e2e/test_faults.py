"""`kill -9` of each service while it works: what was accepted is kept, the supervisor brings it back, the work goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from maestro.clients.api import ApiClient
from maestro.lifecycle.demo.population import population
from maestro.lifecycle.demo.traffic import Traffic
from tests.e2e.running import ROOT, Running, answer_or_none, descendants, processes, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

MODEL = "visits"
JOB = {
    "name": "faults", "model_type": "classifier", "data": {"feature_service": "visits_v1"},
    "params": {"algorithm": "gradient_boosting", "n_estimators": 60}, "timeout_s": 300, "max_retries": 2, "register_as": MODEL,
}  # fmt: skip


class RecordedLabels(ApiClient):
    """Remembers whose labels the server acknowledged."""

    acknowledged: set[str]

    def post(self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Any:
        answer = super().post(path, body, headers=headers)
        self.acknowledged |= {json.dumps(row["entity"]) for row in body}
        return answer


def recorded(running: Running) -> RecordedLabels:
    client = RecordedLabels(running.exports["MAESTRO_SERVER_URL"], running.token("service"), service="server")
    client.acknowledged = set()
    return client


def audit_entries(running: Running) -> list[str]:
    """Every entry, as text."""
    return [json.dumps(entry, sort_keys=True) for entry in running.json("audit", "list", "--limit", "100000")]


def decision_ids(running: Running, rollout: str) -> list[str]:
    """The decisions of a rollout, oldest first."""
    found: list[str] = []
    page = 1
    while True:
        answer = running.api("reviewer").get("/decisions", rollout=rollout, page=page, page_size=200)
        found += [item["id"] for item in answer["items"]]
        if len(found) >= answer["total"]:
            return found[::-1]
        page += 1


@pytest.fixture(scope="session")
def second_version(running: Running) -> dict[str, Any]:
    """A better version, made by a job whose worker is killed in the middle of it."""
    versions = running.api().get("/versions", model=MODEL)["total"]
    jobs = running.api().get("/ai/training/jobs")["total"]
    api = running.api("submitter")
    job = api.post("/ai/training/jobs/start", JOB, headers={"Idempotency-Key": "faults"})
    path = f"/ai/training/jobs/{job['id']}"

    def training() -> dict[str, Any] | None:
        now: dict[str, Any] = api.get(path)
        assert now["status"] in {"queued", "running"}, f"the job ended before the worker was killed: {now}"
        return now if now["status"] == "running" else None

    first = wait_for("the job to run", training, 120.0, 0.05)
    time.sleep(0.3)
    children = descendants(running.pid("worker"))
    assert children, "the attempt runs in a process of its own"
    killed = running.kill("worker")
    wait_for("the end of the worker's children", lambda: None if children & processes().keys() else True, 2.0, 0.05)
    running.wait_restarted("worker", killed)

    def ended() -> dict[str, Any] | None:
        now: dict[str, Any] = api.get(path)
        return None if now["status"] in {"queued", "running"} else now

    done = wait_for("the end of the job", ended, 300.0, 0.5)
    assert done["status"] == "completed", done
    assert done["attempt"] > first["attempt"]
    assert done["fence"] > first["fence"]

    def registered() -> list[dict[str, Any]] | None:
        items = api.get("/versions", model=MODEL, page_size=200)["items"]
        return [item for item in items if item["job_id"] == job["id"]] or None

    made = wait_for("its registration", registered, 60.0)
    assert len(made) == 1, "one job, one version"
    assert made[0]["run_id"] == done["run_id"]
    assert api.get("/versions", model=MODEL)["total"] == versions + 1
    assert running.api().get("/ai/training/jobs")["total"] == jobs + 1
    again = api.post("/ai/training/jobs/start", JOB, headers={"Idempotency-Key": "faults"})
    assert again["id"] == job["id"]
    return made[0]


@pytest.mark.shows("D16", env="laptop")
def test_a_job_survives_its_worker(running: Running, second_version: dict[str, Any]) -> None:
    assert second_version["version"] == "1.1.0"
    logs = running.json("train", "logs", second_version["job_id"])
    assert logs, "what the job said is kept"
    assert running.json("audit", "verify")["ok"] is True


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The policy `demo` with time enough for outages."""
    document = yaml.safe_load((ROOT / "governance/policies/demo.yaml").read_text())
    document["metadata"]["name"] = "faults"
    document["budget"] = {"requests": 400_000, "duration": "30m"}
    path = tmp_path_factory.mktemp("policy") / "faults.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="session")
def approved(running: Running, second_version: dict[str, Any], policy: Path) -> str:
    """The second version, approved under that policy."""
    asked = running.json(
        "approval", "submit", "--model", MODEL, "--version", second_version["version"], "--policy", str(policy),
        actor="submitter",
    )  # fmt: skip
    assert running.json("approval", "approve", asked["id"], actor="reviewer")["status"] == "approved"
    return str(second_version["version"])


@pytest.fixture
def rollout(running: Running, approved: str, policy: Path) -> Iterator[str]:
    """A canary that was just started; aborted afterwards when it still runs."""
    words = ("deploy", "start", "--model", MODEL, "--version", approved, "--policy", str(policy), "--no-follow")
    started: str = running.json(*words)["rollout"]["id"]
    yield started
    if running.api().get(f"/rollouts/{started}")["rollout"]["step"] != "done":
        running.json("deploy", "abort", started, "--reason", "the test is over")

        def ended() -> bool | None:
            return True if running.api().get(f"/rollouts/{started}")["rollout"]["step"] == "done" else None

        wait_for("the end of the aborted rollout", ended, 60.0)


def looks(running: Running, rollout_id: str, more_than: int, timeout_s: float = 120.0) -> list[str]:
    """The rollout's decisions once there are more than so many; lifts a freeze as a person would."""

    def found() -> list[str] | None:
        view = answer_or_none(lambda: running.api().get(f"/rollouts/{rollout_id}"))
        if view is None:
            return None
        if view["rollout"]["status"] == "frozen" and view["rollout"]["state"].get("held"):
            running.json("deploy", "resume", rollout_id)
        ids = decision_ids(running, rollout_id)
        return ids if len(ids) > more_than else None

    return wait_for(f"more than {more_than} decisions", found, timeout_s, 1.0)


def goes_on(running: Running, rollout_id: str) -> None:
    """The rollout is where a better version's may be, and everything recorded of it holds."""
    status = running.api().get(f"/rollouts/{rollout_id}")["rollout"]["status"]
    assert status in {"running", "frozen", "promoted"}, status
    replayed = running.json("decisions", "replay", "--rollout", rollout_id)
    assert replayed["ok"] is True, replayed
    assert running.json("audit", "verify")["ok"] is True


@pytest.mark.shows("F7", "D9", env="laptop")
def test_the_model_server_is_killed_in_mid_canary(running: Running, rollout: str) -> None:
    callers = population(running.home)
    labels = recorded(running)
    url, token = running.exports["MAESTRO_SERVER_URL"], running.token("service")
    with Traffic(url, token, MODEL, callers, labels=labels, rate=200.0) as traffic:
        before = looks(running, rollout, 3)
        wait_for("labels", lambda: True if len(labels.acknowledged) > 100 else None, 60.0)
        entries = audit_entries(running)
        killed = running.kill("server")
        kept = set(labels.acknowledged)
        running.wait_restarted("server", killed)
        answered = traffic.tally.by_status[200]
        wait_for(
            "answers after the restart", lambda: True if traffic.tally.by_status[200] > answered + 50 else None, 60.0
        )
        after = looks(running, rollout, len(before) + 3)
    assert after[: len(before)] == before, "no decision was lost"
    assert set(entries) <= set(audit_entries(running)), "no audit entry was lost"
    journal = (running.home.exposures / MODEL / "labels.jsonl").read_text().splitlines()
    assert len({line for line in journal if line}) >= len(kept | labels.acknowledged), "no acknowledged label was lost"
    goes_on(running, rollout)


@pytest.mark.shows("D9", env="laptop")
def test_the_api_is_killed_in_mid_canary(running: Running, rollout: str) -> None:
    callers = population(running.home)
    url, token = running.exports["MAESTRO_SERVER_URL"], running.token("service")
    with Traffic(url, token, MODEL, callers, labels=recorded(running), rate=200.0) as traffic:
        before = looks(running, rollout, 3)
        entries = audit_entries(running)
        failed = traffic.tally.failed
        killed = running.kill("api")
        problem = running.call("train", "list", "--json", expect=3).json()
        assert "the api service" in problem["detail"]
        assert problem["component"] == "api"
        running.wait_restarted("api", killed)
        after = looks(running, rollout, len(before) + 3)
        assert traffic.tally.failed == failed, "callers do not notice"
    assert after[: len(before)] == before
    assert set(entries) <= set(audit_entries(running))
    goes_on(running, rollout)


@contextmanager
def nobody_restarts(running: Running) -> Iterator[None]:
    """The supervisor stands still while the block lasts."""
    supervisor = running.state().supervisor_pid
    os.kill(supervisor, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)


def wait_tracked(running: Running, run_id: str) -> None:
    """Until MLflow shows a run again."""
    client = running.api()
    wait_for("MLflow", lambda: answer_or_none(lambda: client.get(f"/ai/experiments/runs/{run_id}")), 120.0, 0.5)


def test_mlflow_is_gone(running: Running, second_version: dict[str, Any]) -> None:
    before = running.pid("mlflow")
    with nobody_restarts(running):
        os.killpg(before, signal.SIGKILL)
        for words in (
            ("experiments", "show", second_version["run_id"]),
            ("tune", "run", "--study-name", "without-mlflow", "--n-trials", "1"),
        ):
            problem = running.json(*words, expect=3)
            assert "mlflow" in problem["detail"].lower()
            assert problem["component"] == "mlflow"
            assert problem["remedy"]
        answer = running.server().post("/predict", {"model": MODEL, "entities": [{"person_id": 7}]})
        assert answer["predictions"], "serving does not need MLflow"
        headers = {"Idempotency-Key": "without-mlflow"}
        job = running.api().post("/ai/training/jobs/start", JOB | {"name": "without-mlflow"}, headers=headers)
    running.wait_restarted("mlflow", before)
    wait_tracked(running, second_version["run_id"])

    def ended() -> dict[str, Any] | None:
        now: dict[str, Any] = running.api().get(f"/ai/training/jobs/{job['id']}")
        return None if now["status"] in {"queued", "running"} else now

    done = wait_for("the end of the job that was accepted meanwhile", ended, 180.0, 0.5)
    assert done["status"] == "completed" or "mlflow" in done["error"]["detail"].lower(), done


def test_nothing_of_a_killed_service_is_left_behind(running: Running, second_version: dict[str, Any]) -> None:
    killed = running.kill("mlflow")
    running.wait_restarted("mlflow", killed)
    wait_tracked(running, second_version["run_id"])
    pid = running.pid("mlflow")
    time.sleep(3.0)
    assert running.pid("mlflow") == pid, "the new one could take the address"
    mine = descendants(running.state().supervisor_pid)
    assert [pid for pid in processes() if pid not in mine and _serves(pid, running)] == []


def _serves(pid: int, running: Running) -> bool:
    """Whether a process that is not the supervisor's runs with this home's MLflow database."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"mlflow" in command and str(running.home.root).encode() in environment
