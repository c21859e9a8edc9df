"""The orchestrator over HTTP and by the command line, without a worker: plans, limits, tenants, retention, who may do what."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from maestro.api.app import create_app
from maestro.cli.jobs import app as jobs_app
from maestro.cli.train import app as train_app
from maestro.clients.database.schema.training import ai_training_jobs, ai_training_logs
from maestro.clients.home import Home
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.settings import DatabaseSettings, Settings, TrainingSettings
from maestro.lifecycle.bootstrap import prepare
from maestro.lifecycle.composition import Platform
from maestro.training.advice import Advice
from maestro.training.job import Lease
from tests.training.test_leases import BILL, OUTCOME

Key = dict[str, str]
As = Callable[[str], Key]
JOB: dict[str, Any] = {
    "name": "churn", "model_type": "classifier", "data": {"feature_service": "file", "entities": "e.parquet", "target": "y"},
}  # fmt: skip
OPTIONS = TrainingSettings(max_running=2, max_running_per_tenant=1, max_cores=4, lease_s=600, max_queued_per_tenant=5)


@pytest.fixture
def platform(home: Path) -> Iterator[Platform]:
    options = Settings(home=home, training=OPTIONS, database=DatabaseSettings(busy_timeout_s=2.0))
    platform = prepare(Home(home), options)
    yield platform
    platform.close()


@pytest.fixture
def client(platform: Platform) -> TestClient:
    return TestClient(create_app(platform), raise_server_exceptions=False)


@pytest.fixture
def by(platform: Platform) -> As:
    def key(name: str) -> Key:
        path = platform.home.keys / f"{name}.token"
        if path.exists():
            return {"Authorization": f"Bearer {path.read_text().strip()}"}
        role, _, tenant = name.partition("@")
        platform.principals.create(
            Principal(
                name=name.replace("@", "-"),
                kind="human",
                roles=(PrincipalRole(role),),
                tenants=(tenant,) if tenant else (),
            )
        )
        return {"Authorization": f"Bearer {platform.principals.mint_key(name.replace('@', '-'))}"}

    return key


def submit(client: TestClient, key: Key, **changes: Any) -> dict[str, Any]:
    answer = client.post("/ai/training/jobs/start", json=JOB | changes, headers=key)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def claim(platform: Platform) -> Lease:
    lease = platform.training.leases.claim("w", ["local"])
    assert lease is not None
    return lease


@pytest.mark.shows("B17", "B18", "B21", "B30", env="laptop")
def test_a_job_through_its_states(client: TestClient, by: As, platform: Platform) -> None:
    me = by("submitter")
    job = submit(client, me, resources={"cpu": 2, "memory": "3Gi"}, params={"n_estimators": 7}, workers=2)
    assert (job["status"], job["request"]["resources"], job["request"]["workers"]) == (
        "queued", {"cpu": 2.0, "memory": "3Gi", "gpu": 0}, 2,
    )  # fmt: skip
    assert client.post(f"/ai/training/jobs/{job['id']}/retry", headers=me).status_code == 409
    lease = claim(platform)
    platform.training.leases.heartbeat(lease, progress=0.25, message="epoch 1")
    running = client.get(f"/ai/training/jobs/{job['id']}", headers=me).json()
    assert (running["status"], running["progress"], running["message"]) == ("running", 0.25, "epoch 1")
    asked = client.delete(f"/ai/training/jobs/{job['id']}", headers=me).json()
    assert (asked["status"], asked["cancel_requested"]) == ("running", True)
    assert platform.training.leases.heartbeat(lease) is True
    platform.training.leases.cancelled(lease, BILL)
    ended = client.get(f"/ai/training/jobs/{job['id']}", headers=me).json()
    assert (ended["status"], ended["cost_usd_micros"]) == ("cancelled", 139)
    illegal = client.delete(f"/ai/training/jobs/{job['id']}", headers=me)
    assert (illegal.status_code, illegal.json()["field"]) == (409, "status")
    again = client.post(f"/ai/training/jobs/{job['id']}/retry", headers=me | {"Idempotency-Key": "r"}).json()
    assert (again["retry_of"], again["request"]) == (job["id"], job["request"])
    twice = client.post(f"/ai/training/jobs/{job['id']}/retry", headers=me | {"Idempotency-Key": "r"}).json()
    assert twice["id"] == again["id"]
    platform.training.leases.complete(claim(platform), OUTCOME, BILL)
    done = client.get(f"/ai/training/jobs/{again['id']}", headers=me).json()
    assert (done["status"], done["progress"], done["duration_s"] >= 0) == ("completed", 1.0, True)
    actions = [entry.action for entry in platform.audit.entries(limit=100) if entry.subject.startswith("job/")]
    assert actions == [
        "job.queued", "job.started", "job.cancel", "job.cancelled", "job.queued", "job.started", "job.completed",
    ]  # fmt: skip


@pytest.mark.shows("B16", "B19", "B20", "B25", env="laptop")
def test_before_and_while_queued_one_is_told_what_will_become_of_a_job(
    client: TestClient, by: As, platform: Platform
) -> None:
    boss = by("user")
    fits = client.post("/ai/training/jobs/plan", json=JOB, headers=by("viewer")).json()
    assert (fits["verdict"], fits["wait_s"], fits["estimate"]["samples"]) == ("fits", 0.0, 0)
    assert fits["price_worst_usd_micros"] == 25_000
    never = client.post("/ai/training/jobs/plan", json=JOB | {"resources": {"cpu": 5}}, headers=boss).json()
    assert (never["verdict"], never["limit"]) == ("never", "cores")
    refused = client.post("/ai/training/jobs/start", json=JOB | {"resources": {"cpu": 5}}, headers=boss)
    assert (refused.status_code, refused.json()["field"]) == (422, "resources.cpu")
    for _ in range(3):
        submit(client, boss, tenant_id="a")
    past = [claim(platform)]
    platform.training.leases.complete(past[0], OUTCOME, BILL)
    claim(platform)
    waits = client.post("/ai/training/jobs/plan", json=JOB | {"tenant_id": "a"}, headers=boss).json()
    assert (waits["verdict"], waits["limit"], waits["position"]) == ("waits", "jobs_per_tenant", 2)
    assert waits["wait_s"] > 0
    other = submit(client, boss, tenant_id="b", priority="low")
    assert other["queue"] == {"position": 2, "reason": "waits for a worker: low, place 2 in the queue", "limit": None}
    assert claim(platform).job_id == other["id"], "a tenant at its limit lets others pass"
    assert platform.training.leases.claim("w", ["local"]) is None, "two of two are running"
    queued = client.get("/ai/training/jobs", params={"tenant_id": "a", "status": "queued"}, headers=boss).json()
    assert [job["queue"]["reason"] for job in queued["items"]] == ["waits: 2 of 2 jobs are running"]
    assert queued["items"][0]["estimate"]["upper"] >= queued["items"][0]["estimate"]["lower"] >= 0
    for _ in range(4):
        submit(client, boss, tenant_id="a")
    full = client.post("/ai/training/jobs/start", json=JOB | {"tenant_id": "a"}, headers=boss)
    assert (full.status_code, full.json()["field"], full.headers["Retry-After"]) == (429, "tenant_id", "60")


@pytest.mark.shows("B25", env="laptop")
def test_tenants_see_their_own_and_roles_do_what_they_may(client: TestClient, by: As) -> None:
    ours, theirs = by("submitter@red"), by("submitter@blue")
    job = submit(client, ours, tenant_id="red")
    submit(client, theirs, tenant_id="blue")
    assert client.get(f"/ai/training/jobs/{job['id']}", headers=theirs).status_code == 404
    assert client.delete(f"/ai/training/jobs/{job['id']}", headers=theirs).status_code == 404
    assert client.get(f"/ai/training/jobs/{job['id']}/logs", headers=theirs).status_code == 404
    assert client.post("/ai/training/jobs/start", json=JOB | {"tenant_id": "red"}, headers=theirs).status_code == 404
    assert client.post("/ai/training/jobs/plan", json=JOB | {"tenant_id": "red"}, headers=theirs).status_code == 404
    assert client.get("/ai/training/jobs", params={"tenant_id": "red"}, headers=theirs).json()["total"] == 0
    for path in ("/ai/training/jobs", "/ai/training/tenants", "/ai/training/active"):
        found = client.get(path, headers=ours).json()
        assert (found["total"], {item["tenant_id"] for item in found["items"]}) == (1, {"red"}), path
    assert client.get("/ai/training/stats", headers=ours).json()["by_tenant"] == {"red": 1}
    everybody = client.get("/ai/training/tenants", headers=by("viewer")).json()
    assert [(item["tenant_id"], item["jobs"], item["running_limit"]) for item in everybody["items"]] == [
        ("blue", 1, 1), ("red", 1, 1),
    ]  # fmt: skip
    for name, expected in (("viewer", 403), ("approver", 403), ("submitter", 202), ("user", 202)):
        assert client.post("/ai/training/jobs/start", json=JOB, headers=by(name)).status_code == expected, name
    assert client.post("/ai/training/clean", headers=by("submitter")).status_code == 403


@pytest.mark.shows("D4", env="laptop")
def test_an_operator_cleans_up_and_a_worker_does_it_by_itself(client: TestClient, by: As, platform: Platform) -> None:
    ids = {}
    for status, days in (("completed", 91), ("failed", 31), ("cancelled", 29)):
        ids[status] = submit(client, by("user"))["id"]
        _date_back(platform, ids[status], status, days)
    with platform.database.begin() as connection:
        connection.execute(
            ai_training_logs.insert().values(
                job_id=ids["cancelled"],
                attempt=1,
                at=platform.clock.now() - timedelta(days=8),
                level="info",
                message="old",
            )
        )
    cleaned = client.post("/ai/training/clean", headers=by("user")).json()
    assert cleaned == {"completed": 1, "failed": 1, "cancelled": 0, "log_lines": 1}
    left = client.get("/ai/training/jobs", headers=by("user")).json()
    assert [job["id"] for job in left["items"]] == [ids["cancelled"]]
    assert "jobs.clean" in [entry.action for entry in platform.audit.entries(limit=100)]
    _date_back(platform, ids["cancelled"], "cancelled", 31)
    stop = threading.Event()
    thread = threading.Thread(target=platform.training.retention().run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + 10
    while client.get(f"/ai/training/jobs/{ids['cancelled']}", headers=by("user")).status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stop.set()
    thread.join()


def _date_back(platform: Platform, job_id: str, status: str, days: int) -> None:
    ended = platform.clock.now() - timedelta(days=days)
    with platform.database.begin() as connection:
        connection.execute(
            update(ai_training_jobs).where(ai_training_jobs.c.id == job_id).values(status=status, finished_at=ended)
        )


@pytest.mark.shows("D5", "L12", env="laptop")
def test_views_and_advice_are_read(client: TestClient, by: As, platform: Platform) -> None:
    boss = by("user")
    for number in range(3):
        submit(client, boss, resources={"cpu": 4, "memory": "8Gi"})
        bill = BILL.model_copy(
            update={"cores": 4.0, "memory_gib": 8.0, "peak_memory_bytes": 2**30, "bill_usd_micros": 556}
        )
        outcome = OUTCOME.model_copy(update={"run_id": f"r{number}", "metrics": {"f1": (0.7, 0.8, 0.9)[number]}})
        platform.training.leases.complete(claim(platform), outcome, bill)
    submit(client, boss)
    active = client.get("/ai/training/active", headers=boss).json()
    assert (active["total"], active["items"][0]["status"]) == (1, "queued")
    experiment = client.get("/ai/experiments", headers=boss).json()["items"][0]["id"]
    summary = client.get(f"/ai/experiments/{experiment}/summary", headers=boss).json()
    assert summary["metrics"] == [{"metric": "f1", "runs": 3, "lowest": 0.7, "highest": 0.9}]
    advice = client.get("/ai/training/advice", headers=boss).json()["items"]
    # half a core for ten seconds was used of four: 0.5 and a fifth, by quarters
    assert [(item["cores"], item["memory_gib"], item["attempts"]) for item in advice] == [(0.75, 1.25, 3)]
    Advice.model_validate(advice[0])
    assert advice[0]["saved_usd_micros"] == 3 * (556 - 104)
    assert "at most 0.50 cores and 1.00 GiB were used" in advice[0]["reason"]


@pytest.mark.shows("B34", env="laptop")
def test_a_database_that_is_busy_holds_up_nobody_who_does_not_need_it(platform: Platform, by: As) -> None:
    """The routes run off the event loop: while ten writers wait for a lock, the loop answers."""
    assert (DatabaseSettings().pool_size, DatabaseSettings().max_overflow) == (10, 20)
    me = by("submitter")
    with TestClient(create_app(platform), raise_server_exceptions=False) as client:
        holder = sqlite3.connect(
            str(platform.database.engine.url.database), isolation_level=None, check_same_thread=False
        )
        holder.execute("BEGIN IMMEDIATE")
        answers: list[int] = []

        def write() -> None:
            answers.append(client.post("/ai/training/jobs/start", json=JOB, headers=me).status_code)

        writers = [threading.Thread(target=write) for _ in range(10)]
        for writer in writers:
            writer.start()
        time.sleep(0.3)
        began = time.monotonic()
        assert client.get("/healthz").status_code == 200
        assert client.get("/ai/training/jobs", headers=me).status_code == 200, "readers do not wait for writers"
        took = time.monotonic() - began
        assert answers == [], "the writers still wait"
        assert took < 1.5
        holder.execute("ROLLBACK")
        holder.close()
        for writer in writers:
            writer.join()
    assert set(answers) <= {202, 429, 503}
    assert 202 in answers


@pytest.mark.shows("B15", "B19", "D4", "D5", env="laptop")
def test_the_same_by_the_command_line(
    client: TestClient,
    by: As,
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    served: str,
) -> None:
    monkeypatch.setenv("MAESTRO_API_URL", served)
    monkeypatch.setenv("MAESTRO_API_KEY", by("user")["Authorization"].removeprefix("Bearer "))
    from maestro.cli.console import invoke
    from maestro.core.settings import settings

    settings.cache_clear()

    def told(app: Any, *words: str, code: int = 0) -> Any:
        assert invoke(app, "maestro", [*words, "--json"]) == code, capsys.readouterr()
        return json.loads(capsys.readouterr().out)

    file = platform.home.root / "job.yaml"
    file.write_text(json.dumps(JOB))
    assert told(train_app, "plan", "-f", str(file), "--cpu", "2")["verdict"] == "fits"
    assert told(train_app, "plan", "-f", str(file), "--cpu", "9", code=1)["limit"] == "cores"
    job = told(train_app, "submit", "-f", str(file), "--memory", "2Gi")
    assert job["request"]["resources"]["memory"] == "2Gi"
    assert told(jobs_app, "active")["total"] == 1
    assert told(jobs_app, "tenants")["items"][0]["by_status"]["queued"] == 1
    assert told(jobs_app, "advice")["items"] == []
    assert told(train_app, "cancel", job["id"])["status"] == "cancelled"
    assert told(jobs_app, "clean")["completed"] == 0
    for words in (["plan", "-f", str(file)], ["list"], ["show", job["id"]], ["stats"]):
        assert invoke(train_app, "maestro", words) == 0
    for words in (["active"], ["tenants"], ["advice"], ["clean"]):
        assert invoke(jobs_app, "maestro", words) == 0
    assert "Tenants (1)" in capsys.readouterr().out


@pytest.fixture
def served(platform: Platform) -> Iterator[str]:
    """The application behind a real socket."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(create_app(platform), port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_a_study_is_started_once_and_within_the_limits(client: TestClient, by: As) -> None:
    me = by("submitter")
    study = {"name": "s", "data": JOB["data"], "n_jobs": 2}
    first = client.post("/ai/hpo/studies/start", json=study, headers=me | {"Idempotency-Key": "a"}).json()
    again = client.post("/ai/hpo/studies/start", json=study, headers=me | {"Idempotency-Key": "a"}).json()
    assert (again["id"], again["job_id"]) == (first["id"], first["job_id"])
    busy = client.post("/ai/hpo/studies/start", json=study, headers=me | {"Idempotency-Key": "b"})
    assert (busy.status_code, busy.json()["field"]) == (409, "name")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"n_jobs": 5}, "n_jobs"), ({"space": "cats"}, "space"), ({"sampler": "luck"}, "sampler"),
        ({"budget_usd": -1}, "budget_usd"), ({"dimensions": {"C": {"kind": "float", "low": 0.1, "high": 1.0}}, "sampler": "cmaes"}, "sampler"),
    ]  # fmt: skip
    for change, field in wrong:
        refused = client.post("/ai/hpo/studies/start", json=study | {"name": "other"} | change, headers=me)
        assert (refused.status_code, refused.json()["field"]) == (422, field), refused.text
    assert client.post(f"/ai/hpo/studies/{first['id']}/train", json={}, headers=me).status_code == 409
    assert client.get(f"/ai/hpo/studies/{first['id']}/report", headers=me).status_code == 404
    assert client.get(f"/ai/hpo/studies/{first['id']}/history", headers=me).json()["points"] == []
    assert client.delete(f"/ai/hpo/studies/{first['id']}", headers=me).json()["status"] == "cancelled"
