"""Copies of a process with everything loaded: as isolated and as mortal as fresh ones."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from maestro.core.jobs import Resources
from maestro.training.backends import Attempt, LocalBackend, Phase
from maestro.training.backends.processes import FreshProcess, WarmProcess
from maestro.training.signals import parse
from tests.training.conftest import request_for
from tests.training.test_backends import is_running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def warm() -> Iterator[LocalBackend]:
    runner = LocalBackend()
    runner.warm_up()
    yield runner
    runner.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def attempt_of(folder: Path, name: str, url: str) -> Attempt:
    environment = {"MLFLOW_TRACKING_URI": url, "MAESTRO_HOME": str(folder)}
    return Attempt(
        job_id=name,
        attempt=1,
        fence=1,
        request=request_for(),
        submitted_by="human:ada",
        folder=folder / name,
        environment=environment,
    )


def until(condition: Callable[[], bool], within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_failed(runner: LocalBackend, attempt: Attempt) -> bool:
    return runner.status(attempt.handle).phase is Phase.FAILED


def copies(runner: LocalBackend) -> list[int]:
    """The processes whose parent is the nursery."""
    assert runner._nursery is not None
    runner._nursery.listen()
    return [
        process.pid
        for process in runner._nursery._processes.values()
        if process.pid is not None and process.code is None
    ]


def test_a_copy_runs_the_attempt_with_its_own_environment(
    warm: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAESTRO_API_KEY", "mk_secret")
    attempts = [attempt_of(tmp_path, f"job-{number}", f"http://127.0.0.1:{number}") for number in (7, 9)]
    for attempt in attempts:
        warm.submit(attempt)
    for attempt in attempts:
        until(partial(has_failed, warm, attempt))
        status = warm.status(attempt.handle)
        assert status.exit_code == 3
        assert 0 < status.cpu_s < 30
        kinds = [parse(line) for line in warm.logs(attempt.handle)[0]]
        problem = next(fields for kind, fields in kinds if kind == "error")
        assert f"MLflow at {attempt.environment['MLFLOW_TRACKING_URI']}" in problem["detail"]
        assert not any("mk_secret" in str(fields) for _, fields in kinds)
        warm.forget(attempt.handle)


def test_a_study_is_a_copy_however_many_cores_its_trials_need(warm: LocalBackend, tmp_path: Path, silent: str) -> None:
    attempt = attempt_of(tmp_path, "job-3", silent)
    for model_type, kind in (("study", WarmProcess), ("classifier", FreshProcess)):
        request = request_for(model_type=model_type, resources=Resources(cpu=3))
        asked = attempt.model_copy(update={"request": request, "job_id": model_type})
        warm.submit(asked)
        assert type(warm._groups[asked.handle].workers[0].process) is kind
        warm.cancel(asked.handle)
        warm.forget(asked.handle)


def test_a_running_copy_is_cancelled(warm: LocalBackend, tmp_path: Path, silent: str) -> None:
    attempt = attempt_of(tmp_path, "job-1", silent)
    warm.submit(attempt)
    until(lambda: bool(copies(warm)))
    pid = copies(warm)[0]
    warm.cancel(attempt.handle)
    assert not is_running(pid)
    assert warm.status(attempt.handle).phase is Phase.FAILED


def test_copies_die_with_the_nursery_and_the_backend_says_so(tmp_path: Path, silent: str) -> None:
    runner = LocalBackend()
    runner.warm_up()
    attempt = attempt_of(tmp_path, "job-1", silent)
    runner.submit(attempt)
    until(lambda: bool(copies(runner)))
    pid = copies(runner)[0]
    assert runner._nursery is not None
    os.kill(runner._nursery._process.pid, signal.SIGKILL)
    until(lambda: not is_running(pid), within_s=2)
    until(lambda: runner.status(attempt.handle).phase is Phase.FAILED, within_s=2)
    assert "SIGKILL" in runner.status(attempt.handle).reason
    runner.close()


def test_an_attempt_withdrawn_before_its_copy_exists_never_runs(tmp_path: Path, silent: str) -> None:
    runner = LocalBackend()
    runner.warm_up()
    attempt = attempt_of(tmp_path, "job-1", silent)
    runner.submit(attempt)
    began = time.monotonic()
    runner.cancel(attempt.handle)
    assert time.monotonic() - began < 5
    assert runner.status(attempt.handle).phase is Phase.FAILED
    runner.close()
