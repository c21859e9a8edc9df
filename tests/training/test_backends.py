"""One conformance suite for every training backend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from maestro.core.errors import BadInput, NotFound
from maestro.training.backends import BACKENDS, Attempt, BackendStatus, Phase, TrainingBackend, backend
from tests.training.conftest import request_for


@pytest.fixture(params=sorted(BACKENDS))
def runner(request: pytest.FixtureRequest) -> TrainingBackend:
    return backend(request.param)


@pytest.fixture
def started(runner: TrainingBackend) -> Iterator[list[Attempt]]:
    attempts: list[Attempt] = []
    yield attempts
    for attempt in attempts:
        runner.cancel(attempt.handle)
        runner.forget(attempt.handle)
    runner.close()


def attempt_of(folder: Path, code: str, *, workers: int = 1, fence: int = 1) -> Attempt:
    return Attempt(
        job_id="job-1", attempt=fence, fence=fence, request=request_for(workers=workers), submitted_by="human:ada",
        folder=folder / str(fence), command=(sys.executable, "-S", "-c", code),
    )  # fmt: skip


def ended(runner: TrainingBackend, attempt: Attempt, within_s: float = 20) -> BackendStatus:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        status = runner.status(attempt.handle)
        if status.phase in {Phase.SUCCEEDED, Phase.FAILED}:
            return status
        time.sleep(0.05)
    raise AssertionError("the attempt did not end")


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pids_in(path: Path, count: int) -> list[int]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if path.exists() and len(pids := path.read_text().split()) >= count:
            return [int(pid) for pid in pids]
        time.sleep(0.02)
    raise AssertionError("the processes did not start")


def test_success_with_its_output_and_what_it_used(
    runner: TrainingBackend, started: list[Attempt], tmp_path: Path
) -> None:
    attempt = attempt_of(tmp_path, "x = sum(i * i for i in range(3_000_000)); print('one'); print('two', end='')")
    started.append(attempt)
    runner.submit(attempt)
    status = ended(runner, attempt)
    assert (status.phase, status.exit_code) == (Phase.SUCCEEDED, 0)
    assert status.cpu_s > 0.05
    assert status.peak_memory_bytes > 2**20
    lines, offset = runner.logs(attempt.handle)
    assert lines == ["one", "two"]
    assert runner.logs(attempt.handle, offset) == ([], offset)


def test_failure_says_how_it_ended(runner: TrainingBackend, started: list[Attempt], tmp_path: Path) -> None:
    for fence, (code, words) in enumerate(
        [("raise SystemExit(7)", "exit status 7"), ("import os; os.kill(os.getpid(), 9)", "SIGKILL")], 1
    ):
        attempt = attempt_of(tmp_path, code, fence=fence)
        started.append(attempt)
        runner.submit(attempt)
        status = ended(runner, attempt)
        assert status.phase is Phase.FAILED
        assert words in status.reason


def test_submitting_again_starts_nothing(runner: TrainingBackend, started: list[Attempt], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    attempt = attempt_of(tmp_path, f"open({str(mark)!r}, 'a').write('x')")
    started.append(attempt)
    runner.submit(attempt)
    runner.submit(attempt)
    ended(runner, attempt)
    runner.submit(attempt)
    assert ended(runner, attempt).phase is Phase.SUCCEEDED
    assert mark.read_text() == "x"


def test_cancel_leaves_nothing_running(runner: TrainingBackend, started: list[Attempt], tmp_path: Path) -> None:
    """Not even a grandchild that ignores SIGTERM."""
    pids = tmp_path / "pids"
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)"
    )
    attempt = attempt_of(tmp_path, code)
    started.append(attempt)
    runner.submit(attempt)
    running = pids_in(pids, 2)
    runner.cancel(attempt.handle)
    assert not any(map(is_running, running))
    assert runner.status(attempt.handle).phase is Phase.FAILED
    runner.cancel(attempt.handle)


def test_workers_find_each_other(runner: TrainingBackend, started: list[Attempt], tmp_path: Path) -> None:
    code = (
        "import os, socket, time\n"
        "rank, world, at = int(os.environ['RANK']), int(os.environ['WORLD_SIZE']), (os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))\n"
        "if rank == 0:\n"
        "    with socket.create_server(at) as server:\n"
        "        met = sorted(int(server.accept()[0].recv(8)) for _ in range(world - 1))\n"
        "    print('met', met)\n"
        "else:\n"
        "    for _ in range(200):\n"
        "        try:\n"
        "            socket.create_connection(at).send(str(rank).encode())\n"
        "            break\n"
        "        except OSError: time.sleep(0.05)\n"
    )
    attempt = attempt_of(tmp_path, code, workers=3)
    started.append(attempt)
    runner.submit(attempt)
    assert ended(runner, attempt).phase is Phase.SUCCEEDED
    assert runner.logs(attempt.handle)[0] == ["met [1, 2]"]


def test_a_worker_that_fails_ends_its_group(runner: TrainingBackend, started: list[Attempt], tmp_path: Path) -> None:
    attempt = attempt_of(
        tmp_path, "import os, time; time.sleep(0 if os.environ['RANK'] == '1' else 60); raise SystemExit(3)", workers=2
    )
    started.append(attempt)
    runner.submit(attempt)
    status = ended(runner, attempt)
    assert (status.phase, status.reason) == (Phase.FAILED, "worker 1 ended with exit status 3")


def test_an_unknown_handle_is_named(runner: TrainingBackend) -> None:
    for call in (runner.status, runner.logs, runner.cancel):
        with pytest.raises(NotFound, match="'nobody-1'"):
            call("nobody-1")


def test_no_credential_reaches_a_training_process(
    runner: TrainingBackend, started: list[Attempt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAESTRO_API_KEY", "mk_secret")
    monkeypatch.setenv("MAESTRO_DATABASE_URL", "postgresql://u:secret@h/d")
    attempt = attempt_of(tmp_path, "import os; print(sorted(v for v in os.environ.values() if 'secret' in v))")
    started.append(attempt)
    runner.submit(attempt)
    ended(runner, attempt)
    assert runner.logs(attempt.handle)[0] == ["[]"]


def test_unknown_backends_are_refused() -> None:
    with pytest.raises(BadInput, match="'slurm' is unknown") as unknown:
        backend("slurm")
    assert "local" in unknown.value.remedy
    with pytest.raises(BadInput, match="MXNet was archived") as archived:
        backend("mxnet")
    assert "PyTorch" in archived.value.remedy


def test_the_group_is_gone_within_two_seconds_of_a_kill_of_its_starter(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    work = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}'); time.sleep(60)"
    )
    code = (
        "import sys, time; from pathlib import Path\n"
        "from maestro.core.jobs import DataSpec, JobRequest\n"
        "from maestro.training.backends import Attempt, LocalBackend\n"
        "request = JobRequest(name='x', model_type='classifier', data=DataSpec(feature_service='f'))\n"
        f"LocalBackend().submit(Attempt(job_id='j', attempt=1, fence=1, request=request, submitted_by='a', folder=Path({str(tmp_path)!r}), command=(sys.executable, '-S', '-c', {work!r})))\n"
        "time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code])
    running = pids_in(pids, 2)
    assert all(map(is_running, running))
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    deadline = time.monotonic() + 2
    while any(map(is_running, running)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_running, running))
