"""Thousands of queued jobs on PostgreSQL, four workers and the API killed and stopped at random: every job ends once, none is lost.

MAESTRO_TEST_LOAD_JOBS says how many (default 600; the promise is measured with 10000). Nine in ten wait when the workers begin; the others are submitted through the API meanwhile.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from maestro.clients.database import Database, migrate, open_database
from maestro.clients.database.schema.core import outbox
from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.clients.home import Home
from maestro.core.clock import SystemClock
from maestro.core.jobs import JobRequest
from maestro.core.principals import SYSTEM
from maestro.core.settings import Settings
from maestro.lifecycle.bootstrap import prepare
from maestro.lifecycle.services import free_port
from maestro.security.audit import AuditLog
from maestro.training.store import JobStore

JOBS = int(os.environ.get("MAESTRO_TEST_LOAD_JOBS", "600"))
WORKERS = 4
JOB: dict[str, Any] = {
    "name": "load", "model_type": "classifier", "data": {"feature_service": "file", "entities": "e.parquet", "target": "y"},
}  # fmt: skip


@dataclass
class Fleet:
    """The processes under test, each started again when it is killed."""

    commands: dict[str, tuple[list[str], dict[str, str]]]
    log: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    kills: int = 0
    stops: int = 0
    deck: list[tuple[str, bool]] = field(default_factory=list)

    def start(self, name: str) -> None:
        argv, environment = self.commands[name]
        with self.log.open("ab") as log:
            self.processes[name] = subprocess.Popen(
                argv, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def start_all(self) -> None:
        for name in self.commands:
            self.start(name)

    def shake(self, rng: random.Random) -> None:
        """Kill or stop one of them; one that is stopped goes on after up to twice its lease. Each meets both before one meets the same again."""
        if not self.deck:
            self.deck = [(name, kills) for name in sorted(self.processes) for kills in (False, True)]
            rng.shuffle(self.deck)
            # however short the run, somebody dies and somebody is stopped
            self.deck.sort(key=lambda card: card not in {("w0", True), ("w1", False)})
        name, kills = self.deck.pop(0)
        process = self.processes[name]
        if kills:
            process.kill()
            process.wait()
            self.kills += 1
            time.sleep(rng.uniform(0.0, 1.0))
            self.start(name)
            return
        process.send_signal(signal.SIGSTOP)
        self.stops += 1
        time.sleep(rng.choice((0.5, 1.0, 6.0)))
        process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


@pytest.fixture
def database(postgres_url: str) -> Iterator[tuple[Database, str]]:
    """A database whose address other processes may have too."""
    import uuid

    import psycopg

    name = f"load_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    url = postgres_url.replace("/postgres?", f"/{name}?")
    opened = open_database(url)
    migrate(opened)
    yield opened, url
    opened.dispose()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def fleet(home: Path, tmp_path: Path, database: tuple[Database, str]) -> Iterator[tuple[Fleet, str, str]]:
    url = database[1]
    platform = prepare(Home(home), Settings(home=home, database_url=url))
    token = (platform.home.keys / "user.token").read_text().strip()
    platform.close()
    port = free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAESTRO_")}
    environment = own | {
        "MAESTRO_HOME": str(home), "MAESTRO_DATABASE_URL": url, "MAESTRO_MLFLOW_URL": "http://127.0.0.1:9",
        "MAESTRO_DATABASE__IDLE_IN_TRANSACTION_S": "2",
    }  # fmt: skip
    worker = str(Path(__file__).with_name("load_worker.py"))
    commands = {
        f"w{number}": ([sys.executable, worker, url, str(tmp_path / "attempts"), f"w{number}"], environment)
        for number in range(WORKERS)
    }
    commands["api"] = ([sys.executable, "-m", "maestro.api", "--port", str(port)], environment)
    found = Fleet(commands, tmp_path / "fleet.log")
    yield found, f"http://127.0.0.1:{port}", token
    found.close()


def job(number: int) -> dict[str, Any]:
    """The request of one job: tenants and priorities in turn."""
    return JOB | {"tenant_id": f"t{number % 7}", "priority": ("low", "normal", "high", "urgent")[number % 4]}


def queue(database: Database, numbers: range) -> list[str]:
    """Jobs that wait before anybody works."""
    clock = SystemClock()
    store = JobStore(database, clock, AuditLog(database, clock, None, None))
    return [store.submit(JobRequest.model_validate(job(number)), SYSTEM, f"load-{number}").id for number in numbers]


def submit(url: str, token: str, numbers: range) -> list[str]:
    """Submit with a key each, until each was accepted, however often the API is away."""
    headers = {"Authorization": f"Bearer {token}"}

    def one(number: int) -> str:
        deadline = time.monotonic() + 600
        body = job(number)
        while time.monotonic() < deadline:
            try:
                answer = client.post(
                    "/ai/training/jobs/start", json=body, headers=headers | {"Idempotency-Key": f"load-{number}"}
                )
            except httpx.HTTPError:
                time.sleep(0.2)
                continue
            if answer.status_code == 202:
                return str(answer.json()["id"])
            assert answer.status_code in {503, 429}, answer.text
            time.sleep(0.2)
        raise AssertionError(f"job {number} was never accepted")

    with httpx.Client(base_url=url, timeout=10.0) as client, ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, numbers))


@pytest.mark.e2e
@pytest.mark.timeout(3600)
@pytest.mark.shows("B10", "B15", "B17", "B20", env="laptop")
def test_every_job_ends_once_and_none_is_lost(
    fleet: tuple[Fleet, str, str], database: tuple[Database, str], record_property: Any
) -> None:
    processes, url, token = fleet
    rng = random.Random(2026)
    waiting = queue(database[0], range(JOBS * 9 // 10))
    began = time.monotonic()
    processes.start_all()
    with ThreadPoolExecutor(1) as submitting:
        accepted = submitting.submit(submit, url, token, range(JOBS * 9 // 10, JOBS))
        while not accepted.done() or unfinished(database[0]):
            assert time.monotonic() - began < 3000, (unfinished(database[0]), processes.log.read_text()[-3000:])
            time.sleep(rng.uniform(1.0, 4.0))
            processes.shake(rng)
        ids = waiting + accepted.result()
    took = time.monotonic() - began
    assert len(set(ids)) == JOBS, "a key that was sent twice made one job"
    with database[0].read() as connection:
        rows = connection.execute(select(jobs.c.id, jobs.c.status, jobs.c.run_id, jobs.c.fence, jobs.c.lost)).all()
        ended = Counter(connection.execute(select(outbox.c.subject).where(outbox.c.kind == "job.completed")).scalars())
        starts = Counter(connection.execute(select(outbox.c.subject).where(outbox.c.kind == "job.started")).scalars())
    assert {row.id for row in rows} == set(ids), "nothing accepted is lost, nothing comes twice"
    assert {row.status for row in rows} == {"completed"}
    assert set(ended.values()) == {1}, "at most one attempt's results are published"
    assert len(ended) == JOBS
    for row in rows:
        assert row.run_id == f"run-{row.fence}", "what is published is the newest attempt's"
        assert starts[f"job/{row.id}"] == row.fence
    assert processes.kills >= 1
    assert processes.stops >= 1
    facts = {
        "jobs": JOBS, "seconds": round(took, 1), "jobs_per_second": round(JOBS / took, 1), "kills": processes.kills, "stops": processes.stops,
        "attempts": sum(row.fence for row in rows), "lost_leases": sum(row.lost for row in rows),
    }  # fmt: skip
    record_property("load", json.dumps(facts))
    sys.stdout.write(json.dumps(facts) + "\n")


def unfinished(database: Database) -> int:
    with database.read() as connection:
        waiting = connection.execute(
            select(func.count()).select_from(jobs).where(jobs.c.status.in_(["queued", "running"]))
        ).scalar_one()
        total = connection.execute(select(func.count()).select_from(jobs)).scalar_one()
    return int(waiting) + JOBS - int(total)
