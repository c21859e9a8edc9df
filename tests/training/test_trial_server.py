"""The trials' processes: they speak in order, crash alone, and die with the search, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from maestro.core.contract import Feature
from maestro.core.jobs import DataSpec
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.search.processes import TrialProcesses
from maestro.training.search.recorder import Recorder
from maestro.training.search.request import StudyRequest
from maestro.training.search.trials import Ended, Setting, Step
from tests.training.test_backends import is_running
from tests.training.test_search import trial


def setting(*, judged: bool) -> Setting:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 3)), columns=list("abc"))
    target = (frame["a"] > 0).to_numpy().astype(int)
    names = tuple(Feature(name=name) for name in "abc")
    prepared = Prepared(frame, target, frame, target, np.empty(0, dtype=np.uint64), names)
    request = StudyRequest(name="s", data=DataSpec(feature_service="x"), folds=2)
    return Setting(request, prepared, judged)


@pytest.fixture(scope="module")
def pool() -> Iterator[TrialProcesses]:
    with TrialProcesses() as processes:
        yield processes


def heard(pool: TrialProcesses, number: int, *, go: bool | None = None) -> list[Step | Ended]:
    """Everything of one trial up to its end; each step is answered where `go` is given."""
    events: list[Step | Ended] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for event in pool.wait(1.0):
            assert event.number == number
            events.append(event)
            if isinstance(event, Step) and go is not None:
                pool.answer(number, go=go)
            if isinstance(event, Ended):
                return events
    raise AssertionError(events)


def test_a_mistake_is_a_problem_and_a_crash_is_one_trial_s(pool: TrialProcesses) -> None:
    pool.load(setting(judged=False))
    pool.start(1, {"width": 3}, 30.0)
    end = heard(pool, 1)[-1]
    assert isinstance(end, Ended)
    assert end.problem is not None
    assert end.problem["field"] == "params.width"
    pool.start(2, {"n_estimators": 300_000}, 30.0)
    while pool._links[2].pid is None:
        pool.wait(0.1)
    os.kill(pool._links[2].pid, signal.SIGSEGV)
    end = heard(pool, 2)[-1]
    assert isinstance(end, Ended)
    assert (end.code, end.timed_out, end.failed) == (-11, False, "its process was ended by signal 11")
    pool.start(3, {"n_estimators": 300_000}, 30.0)
    pool.drop()
    pool.start(4, {"n_estimators": 2}, 30.0)
    assert isinstance(heard(pool, 4)[-1], Ended), "the server goes on"


def test_a_process_takes_the_next_trial_as_long_as_each_ends_well(pool: TrialProcesses) -> None:
    pool.load(setting(judged=False))
    pids: list[int | None] = []
    ends: list[Ended] = []
    for number, params in enumerate(({"n_estimators": 3}, {"n_estimators": 3}, {"width": 3}, {"n_estimators": 3})):
        pool.start(number, params, 30.0)
        link = pool._links[number]
        end = heard(pool, number)[-1]
        assert isinstance(end, Ended)
        ends.append(end)
        pids.append(link.pid)
    assert pids[0] == pids[1] == pids[2], "a mistake is found in the process that the trial was given"
    assert pids[3] != pids[2], "and the next trial gets a new one"
    first, second, _, last = ends
    scores = [
        {name: value for name, value in (end.metrics or {}).items() if name != "seconds"}
        for end in (first, second, last)
    ]
    assert scores[0]
    assert scores[0] == scores[1] == scores[2]
    assert 0 < second.cpu_s < 5
    # one that died while it had nothing to do is replaced
    os.kill(pids[3] or 0, signal.SIGKILL)
    pool.start(9, {"n_estimators": 3}, 30.0)
    assert isinstance(heard(pool, 9)[-1], Ended)


def test_trials_die_with_a_search_that_is_killed() -> None:
    code = (
        "import time\n"
        "from maestro.training.search.processes import TrialProcesses\n"
        "from tests.training.test_trial_server import setting\n"
        "pool = TrialProcesses()\n"
        "pool.load(setting(judged=False))\n"
        "pool.start(1, {'n_estimators': 300_000}, 60.0)\n"
        "while pool._links[1].pid is None: pool.wait(0.1)\n"
        "print(pool._process.pid, pool._links[1].pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    search = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True)
    assert search.stdout is not None
    pids = [int(word) for word in search.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(is_running, pids))
    search.kill()
    search.wait()
    search.stdout.close()
    deadline = time.monotonic() + 2
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_running, pids))


def test_trials_are_told_in_their_order() -> None:
    told: list[int] = []
    request = StudyRequest(name="s", data=DataSpec(feature_service="x"))
    recorder = Recorder(None, "", None, request, lambda found, _run, _micros: told.append(found.number))
    recorder.resume([trial(0, 0.5), trial(1, 0.5)])
    for number in range(2, 5):
        recorder.add(trial(number, 0.5))
    recorder.close()
    assert told == [0, 1, 2, 3, 4]
