"""Real worker processes: success, failure, cancel, kill -9, SIGSTOP beyond the lease, shutdown."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maestro.clients.database import Database
from maestro.clients.database.outbox import events
from maestro.core.clock import SystemClock
from maestro.core.jobs import JobStatus
from maestro.security.audit import AuditLog
from maestro.training.job import Job
from maestro.training.store import JobStore
from tests.training.conftest import ADA, request_for
from tests.training.test_backends import is_running, pids_in

Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def jobs(sqlite_database: Database) -> JobStore:
    clock = SystemClock()
    return JobStore(sqlite_database, clock, AuditLog(sqlite_database, clock, None, None))


@pytest.fixture
def start(sqlite_database: Database, tmp_path: Path) -> Iterator[Start]:
    workers: list[subprocess.Popen[bytes]] = []

    def begin(name: str) -> subprocess.Popen[bytes]:
        url = f"sqlite:///{sqlite_database.engine.url.database}"
        program = str(Path(__file__).with_name("worker_program.py"))
        worker = subprocess.Popen([sys.executable, program, url, str(tmp_path / "attempts"), name])
        workers.append(worker)
        return worker

    yield begin
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(signal.SIGCONT)
            worker.kill()
        worker.wait()


def until(jobs: JobStore, job_id: str, condition: Callable[[Job], bool], within_s: float = 30) -> Job:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        job = jobs.get(job_id, ADA)
        if condition(job):
            return job
        time.sleep(0.05)
    raise AssertionError(f"still {job.status}: {job.message} {job.error}")


def kinds(jobs: JobStore) -> list[str]:
    with jobs.database.read() as connection:
        return [event.kind for event in events(connection)]


def stop_outside_a_transaction(worker: subprocess.Popen[bytes], jobs: JobStore) -> None:
    """SIGSTOP; a process stopped inside a transaction would keep SQLite's one write lock and so stop everybody, the test included."""
    path = str(jobs.database.engine.url.database)
    for _ in range(50):
        os.kill(worker.pid, signal.SIGSTOP)
        probe = sqlite3.connect(path, isolation_level=None, timeout=0.5)
        try:
            probe.execute("BEGIN IMMEDIATE")
            probe.execute("ROLLBACK")
        except sqlite3.OperationalError:
            os.kill(worker.pid, signal.SIGCONT)
            time.sleep(0.05)
        else:
            return
        finally:
            probe.close()
    raise AssertionError("the worker was always inside a transaction")


@pytest.mark.shows("L4", "L5", env="laptop")
def test_jobs_run_report_are_published_and_billed(jobs: JobStore, start: Start, tmp_path: Path) -> None:
    job = jobs.submit(request_for(params={"pids": str(tmp_path / "pids"), "seconds": 1.5}, resources={"cpu": 2}), ADA)
    failing = jobs.submit(request_for(params={"pids": str(tmp_path / "pids"), "failures": 1}, max_retries=1), ADA)
    hopeless = jobs.submit(request_for(params={"pids": str(tmp_path / "pids"), "failures": 9}), ADA)
    late = jobs.submit(request_for(params={"pids": str(tmp_path / "pids"), "seconds": 60}, timeout_s=1), ADA)
    start("w")
    running = until(jobs, job.id, lambda item: item.progress == 0.5)
    assert (running.status, running.message) == (JobStatus.RUNNING, "half-way")
    done = until(jobs, job.id, lambda item: item.status.is_final)
    assert (done.status, done.run_id, done.progress) == (JobStatus.COMPLETED, "run-1", 1.0)
    assert done.result is not None
    bill = done.result["bill"]
    assert bill["wall_s"] >= 1.5
    assert done.cost_usd_micros == bill["bill_usd_micros"] == pytest.approx(bill["wall_s"] * 2 * 50_000 / 3600, abs=1)
    assert 0 < bill["used_usd_micros"] < bill["bill_usd_micros"]
    assert "attempt 1 fence 1" in [line.message for line in jobs.logs(job.id, ADA)]
    retried = until(jobs, failing.id, lambda item: item.status.is_final)
    assert (retried.status, retried.attempt, retried.run_id) == (JobStatus.COMPLETED, 2, "run-2")
    failed = until(jobs, hopeless.id, lambda item: item.status.is_final)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error["detail"] == "on purpose"
    stopped = until(jobs, late.id, lambda item: item.status.is_final)
    assert stopped.error is not None
    assert stopped.error["field"] == "timeout_s"
    assert not list((tmp_path / "attempts").glob("*/*"))


def test_a_disk_that_is_full_in_mid_run_is_said_and_loses_nothing(jobs: JobStore, start: Start, tmp_path: Path) -> None:
    """The kernel refuses what the attempt writes beyond 40 kB, its result included."""
    own = {"pids": str(tmp_path / "pids"), "lines": 200, "file_bytes": 40_000}
    full = jobs.submit(request_for(params=own, max_retries=1), ADA)
    waiting = jobs.submit(request_for(params={"pids": str(tmp_path / "pids")}), ADA)
    start("w")
    failed = until(jobs, full.id, lambda item: item.status.is_final)
    assert (failed.status, failed.attempt, failed.run_id) == (JobStatus.FAILED, 2, None)
    assert failed.error is not None
    assert (failed.error["status"], failed.error["component"]) == (503, "disk")
    assert "its disk is full" in failed.error["detail"]
    assert "free disk space" in failed.error["remedy"]
    assert any(line.message.startswith("line 3 ") for line in jobs.logs(full.id, ADA)), "what was said before is kept"
    assert until(jobs, waiting.id, lambda item: item.status.is_final).status is JobStatus.COMPLETED
    assert not list((tmp_path / "attempts").glob("*/*")), "a failed attempt leaves nothing on the disk"


def test_cancel_stops_the_work(jobs: JobStore, start: Start, tmp_path: Path) -> None:
    job = jobs.submit(request_for(params={"pids": str(tmp_path / "pids"), "seconds": 60}), ADA)
    start("w")
    pid = pids_in(tmp_path / "pids", 1)[0]
    jobs.cancel(job.id, ADA)
    until(jobs, job.id, lambda item: item.status is JobStatus.CANCELLED)
    assert not is_running(pid)


def test_a_killed_worker_takes_its_child_along_and_the_job_runs_elsewhere(
    jobs: JobStore, start: Start, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    job = jobs.submit(request_for(params={"pids": str(pids), "seconds": 4}), ADA)
    first = start("first")
    pid = pids_in(pids, 1)[0]
    os.kill(first.pid, signal.SIGKILL)
    deadline = time.monotonic() + 2
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(pid)
    start("second")
    done = until(jobs, job.id, lambda item: item.status.is_final)
    assert (done.status, done.attempt, done.run_id, done.worker) == (JobStatus.COMPLETED, 2, "run-2", "second")
    assert (done.lost, done.request.max_retries) == (1, 0), "a lost worker uses up no retry"
    assert kinds(jobs) == ["job.queued", "job.started", "job.requeued", "job.started", "job.completed"]


def test_a_worker_stopped_beyond_its_lease_is_refused_when_it_continues(
    jobs: JobStore, start: Start, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    job = jobs.submit(request_for(params={"pids": str(pids), "seconds": 3}, max_retries=1), ADA)
    first = start("first")
    pids_in(pids, 1)
    until(jobs, job.id, lambda item: item.status is JobStatus.RUNNING)
    stop_outside_a_transaction(first, jobs)
    second = start("second")
    until(jobs, job.id, lambda item: item.worker == "second" and item.status is JobStatus.RUNNING)
    # the first attempt's process goes on meanwhile and ends with a result that nobody may publish
    os.kill(first.pid, signal.SIGCONT)
    done = until(jobs, job.id, lambda item: item.status.is_final)
    assert (done.status, done.run_id, done.worker, done.fence) == (JobStatus.COMPLETED, "run-2", "second", 2)
    time.sleep(1.0)
    assert kinds(jobs).count("job.completed") == 1
    assert jobs.get(job.id, ADA).run_id == "run-2"
    assert first.poll() is None
    assert second.poll() is None


def test_a_worker_that_is_shut_down_gives_its_jobs_back(jobs: JobStore, start: Start, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    job = jobs.submit(request_for(params={"pids": str(pids), "seconds": 60}), ADA)
    worker = start("w")
    pid = pids_in(pids, 1)[0]
    until(jobs, job.id, lambda item: item.status is JobStatus.RUNNING)
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=10)
    assert not is_running(pid)
    back = jobs.get(job.id, ADA)
    assert (back.status, back.attempt, back.worker) == (JobStatus.QUEUED, 0, None)
