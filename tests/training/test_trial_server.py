"""The trials' processes: they speak in order, crash alone, and die with the search, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from maestro.core.contract import Feature
from maestro.core.jobs import DataSpec
from maestro.training.models.classifier import Classifier
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.search.objective import evaluate
from maestro.training.search.processes import _THREADS, TrialProcesses
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


def test_a_process_is_given_up_for_whatever_a_trial_leaves_behind() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.leaky_trials"]
    alone = os.environ | dict.fromkeys(_THREADS, "1")
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, env=alone).stdout)
    assert {leak for leak, stays in told["stays"].items() if stays} == {"nothing"}
    assert len(told["stays"]) > 8
    spike, filtered, last = told["after"]
    assert spike["stays"]
    assert filtered["stays"]
    assert last["peak_memory_bytes"] < spike["peak_memory_bytes"] - (150 << 20), "memory is each trial's own"
    for name in ("plain", "numpy", "filters"):
        assert spike["done"][name] == last["done"][name], "begins anew"


def test_a_trial_is_accounted_for_by_itself(pool: TrialProcesses) -> None:
    """The CPU of the trials before it, in the same process, is not its own; a limit is each trial's own."""
    pool.load(setting(judged=False))
    ends: list[Ended] = []
    pids: list[int | None] = []
    for number, (trees, limit_s) in enumerate(((3, 30.0), (300, 30.0), (3, 30.0), (300_000, 0.3), (3, 30.0))):
        pool.start(number, {"n_estimators": trees}, limit_s)
        link = pool._links[number]
        end = heard(pool, number)[-1]
        assert isinstance(end, Ended)
        ends.append(end)
        pids.append(link.pid)
    _, long, short, over, last = ends
    assert pids[0] == pids[1] == pids[2] == pids[3] != pids[4]
    assert long.cpu_s > 5 * short.cpu_s
    assert 0 < over.cpu_s < 0.6
    assert (over.code, over.timed_out, last.timed_out) == (-14, True, False)
    # an end that nobody foresaw says at least what it was
    pool.start(9, {"n_estimators": 3}, -1.0)
    end = heard(pool, 9)[-1]
    assert isinstance(end, Ended)
    assert (end.metrics, end.failed) == (None, "its process ended with exit status 70")


class Undefined(Classifier):
    """A classifier whose accuracy is no number, and whose precision is without bound."""

    def metrics(self, model: Any, features: pd.DataFrame, target: np.ndarray) -> dict[str, float]:
        """Those of a classifier, but for two."""
        return super().metrics(model, features, target) | {"accuracy": float("nan"), "precision": float("inf")}


def test_an_objective_that_is_no_number_fails_its_trial_and_another_metric_is_left_out() -> None:
    of = setting(judged=False)
    told: list[dict[str, Any]] = []
    code = evaluate(Undefined(), of.request, of.prepared, {"n_estimators": 2}, told.append)
    assert code == 1
    assert [message["failed"] for message in told] == ["ArithmeticError: accuracy is nan after fold 1"]
    told.clear()
    request = of.request.model_copy(update={"objectives": ("f1",)})
    assert evaluate(Undefined(), request, of.prepared, {"n_estimators": 2}, told.append) == 0
    assert set(told[-1]["done"]) == {"f1", "recall", "log_loss", "roc_auc", "seconds"}


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
