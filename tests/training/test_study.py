"""Studies on a real Optuna storage with real models: recorded, resumed, pruned, budgeted."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maestro.clients.mlflow import Tracking
from maestro.clients.optuna import OWNER, Studies
from maestro.clients.optuna_samplers import NEEDS
from maestro.clients.processes import owner
from maestro.core.contract import Feature
from maestro.core.errors import BadInput, NotFound, Unreachable
from maestro.core.jobs import DataSpec
from maestro.core.seams import NoProgress, Progress
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.search.processes import TrialProcesses
from maestro.training.search.request import StudyRequest
from maestro.training.search.result import result_of
from maestro.training.search.spaces import FloatRange, IntRange
from maestro.training.search.study import StudyRunner as Runner

SMALL = {"n_estimators": IntRange(low=2, high=12), "max_depth": IntRange(low=1, high=6)}


@pytest.fixture(autouse=True)
def _libraries_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(240, 4)), columns=list("abcd"))
    target = ((frame["a"] + frame["b"] * frame["c"]) > 0).to_numpy().astype(int)
    features = tuple(Feature(name=name) for name in "abcd")
    return Prepared(frame[:200], target[:200], frame[200:], target[200:], np.empty(0, dtype=np.uint64), features)


@pytest.fixture
def studies(tmp_path: Path) -> Studies:
    return Studies(f"sqlite:///{tmp_path / 'optuna.db'}")


@pytest.fixture(scope="module", autouse=True)
def processes() -> Iterator[TrialProcesses]:
    """One server of trials for all tests here."""
    with TrialProcesses() as shared:
        SHARED.append(shared)
        yield shared
        SHARED.clear()


SHARED: list[TrialProcesses] = []


def StudyRunner(
    studies: Studies, request: StudyRequest, prepared: Prepared, tracking: Tracking | None, progress: Progress
) -> Runner:
    """A runner whose trials the shared server starts."""
    return Runner(studies, request, prepared, tracking, progress, processes=SHARED[0])


def request_of(**fields: object) -> StudyRequest:
    values: dict[str, object] = {
        "name": "s",
        "data": DataSpec(feature_service="digits_v1"),
        "dimensions": SMALL,
        "n_trials": 4,
        "folds": 2,
    }
    return StudyRequest.model_validate(values | fields)


@pytest.mark.shows("C8", "C9", env="laptop")
def test_every_trial_is_a_run_under_the_study_s_run_and_a_resumed_study_does_only_the_rest(
    studies: Studies, prepared: Prepared, tracking: Tracking
) -> None:
    first = StudyRunner(studies, request_of(name="recorded"), prepared, tracking, NoProgress()).run()
    again = StudyRunner(studies, request_of(name="recorded", n_trials=6), prepared, tracking, NoProgress()).run()
    assert (first.trials, again.trials, again.run_id) == (4, 6, first.run_id)
    experiment = tracking.experiments("recorded")[0]
    runs = tracking.runs([experiment.id])
    children = [run for run in runs if run.tags.get("mlflow.parentRunId") == first.run_id]
    assert len(children) == 6
    assert len(runs) == 7
    assert all("accuracy" in run.metrics and "max_depth" in run.params for run in children)
    import mlflow

    mlflow.set_tracking_uri(tracking.url)
    page = mlflow.artifacts.load_text(f"runs:/{first.run_id}/study.html")
    assert "<h1>Study recorded</h1>" in page
    assert (
        re.search(
            r"<(script|img|iframe)[^>]+src=|<link[^>]+href=",
            re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL),
        )
        is None
    )
    assert re.search(r"<script[^>]+src=", re.sub(r">.*?</script>", "></script>", page, flags=re.DOTALL)) is None


def test_the_same_seed_tries_the_same(studies: Studies, prepared: Prepared) -> None:
    for name in ("a", "b"):
        StudyRunner(studies, request_of(name=name, n_trials=6, pruner="none"), prepared, None, NoProgress()).run()
    one, two = (result_of(studies, name)[2] for name in ("a", "b"))
    assert [trial.params for trial in one] == [trial.params for trial in two]
    assert [trial.values for trial in one] == [trial.values for trial in two]


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        ("tpe", "median"), ("tpe", "hyperband"), ("tpe", "race"), ("tpe", "none"), ("frugal_tpe", "race"), ("frugal_tpe", "hyperband"), ("random", "median"), ("grid", "none"), ("grid", "hyperband"),
        ("multivariate_tpe", "median"), ("cmaes", "none"), ("gp", "none"),
    ],
)  # fmt: skip
def test_samplers_and_pruners_work_together(sampler: str, pruner: str, studies: Studies, prepared: Prepared) -> None:
    if sampler in NEEDS and importlib.util.find_spec(NEEDS[sampler][0]) is None:
        with pytest.raises(BadInput, match="needs the package") as error:
            StudyRunner(studies, request_of(sampler=sampler), prepared, None, NoProgress()).run()
        assert error.value.field == "sampler"
        return
    result = StudyRunner(
        studies, request_of(sampler=sampler, pruner=pruner, n_trials=6), prepared, None, NoProgress()
    ).run()
    assert result.complete + result.pruned == 6
    assert result.failed == 0
    assert result.best is not None
    if pruner == "none":
        assert result.pruned == 0


def test_a_grid_ends_when_it_has_been_tried(studies: Studies, prepared: Prepared) -> None:
    request = request_of(
        sampler="grid", n_trials=50, pruner="none", folds=2, dimensions={"max_depth": IntRange(low=1, high=3)}
    )
    result = StudyRunner(studies, request, prepared, None, NoProgress()).run()
    assert (result.complete, result.stopped) == (3, "the grid has been tried to its end")


def test_a_hopeless_trial_is_pruned_and_still_says_what_it_cost(studies: Studies, prepared: Prepared) -> None:
    result = StudyRunner(studies, request_of(n_trials=14, sampler="random"), prepared, None, NoProgress()).run()
    assert result.pruned > 0
    trials = result_of(studies, "s")[2]
    assert all(trial.attributes["seconds"] > 0 for trial in trials if trial.state == "pruned")
    assert result.importance == pytest.approx(result.importance)
    assert sum(result.importance.values()) == pytest.approx(1.0)


def test_the_cost_reference_is_frozen(studies: Studies, prepared: Prepared) -> None:
    request = request_of(cost_weight=0.3, n_trials=6)
    first = StudyRunner(studies, request, prepared, None, NoProgress()).run()
    again = StudyRunner(studies, request.model_copy(update={"n_trials": 9}), prepared, None, NoProgress()).run()
    assert first.cost_reference_s is not None
    assert again.cost_reference_s == first.cost_reference_s
    assert again.best is not None
    assert again.best.seconds is not None
    assert again.best.score == pytest.approx(
        again.best.values["accuracy"] - 0.3 * again.best.seconds / first.cost_reference_s
    )


def test_trials_in_parallel_all_count(studies: Studies, prepared: Prepared) -> None:
    result = StudyRunner(studies, request_of(n_trials=9, n_jobs=3, pruner="none"), prepared, None, NoProgress()).run()
    assert (result.trials, result.complete) == (9, 9)


def test_time_is_kept(studies: Studies, prepared: Prepared) -> None:
    result = StudyRunner(studies, request_of(n_trials=10_000, timeout_s=1.0), prepared, None, NoProgress()).run()
    assert 0 < result.trials < 10_000
    assert result.stopped == "the time budget of 1 s is over"


@pytest.mark.shows("C7", env="laptop")
def test_a_trial_over_its_time_is_killed_in_the_middle_of_its_fit(studies: Studies, prepared: Prepared) -> None:
    huge = {"n_estimators": IntRange(low=200_000, high=300_000)}
    began = time.monotonic()
    result = StudyRunner(
        studies, request_of(dimensions=huge, n_trials=2, n_jobs=2, trial_timeout_s=0.4), prepared, None, NoProgress()
    ).run()
    assert time.monotonic() - began < 20, "one fit alone takes minutes"
    assert (result.pruned, result.complete, result.best) == (2, 0, None)
    for trial in result_of(studies, "s")[2]:
        assert trial.attributes["timed_out"] is True
        assert 0.4 <= trial.attributes["wall_s"] <= 1.4
        assert trial.attributes["cpu_s"] > 0, "what it used is accounted all the same"
        assert trial.attributes["cost_usd_micros"] > 0


def test_the_budget_is_never_exceeded_and_what_runs_is_set_aside(studies: Studies, prepared: Prepared) -> None:
    # a trial of at most 2 s and 1 s of grace costs 42 micro-dollars at worst
    request = request_of(n_trials=200, n_jobs=3, trial_timeout_s=2.0, budget_usd=0.000_100, pruner="none", folds=2)
    result = StudyRunner(studies, request, prepared, None, NoProgress()).run()
    assert result.trials < 200
    assert 100 - 42 < result.cost_usd_micros <= 100
    assert result.stopped is not None
    assert result.stopped.startswith("the budget is spent")
    again = StudyRunner(studies, request, prepared, None, NoProgress()).run()
    assert again.trials == result.trials, "a resumed study remembers what it has spent"


def test_a_lost_trial_is_booked_at_its_worst(studies: Studies, prepared: Prepared) -> None:
    request = request_of(n_trials=1, trial_timeout_s=2.0, budget_usd=0.000_080)
    StudyRunner(studies, request, prepared, None, NoProgress()).run()
    study = studies.load("s")
    lost = study.ask()
    lost.set_user_attr(OWNER, f"{socket.gethostname()}:999999:1")
    # resumed with a shorter limit, it may still have run to the end of the one that it had
    shorter = request.model_copy(update={"n_trials": 3, "trial_timeout_s": 1.0})
    result = StudyRunner(studies, shorter, prepared, None, NoProgress()).run()
    assert result.cost_usd_micros >= 42
    assert result.cost_usd_micros <= 80


def test_a_search_ends_when_the_next_trial_is_not_worth_its_cost(studies: Studies, prepared: Prepared) -> None:
    cheap = request_of(
        n_trials=40, value_per_point_usd=1e-6, pruner="none", folds=2, dimensions={"max_depth": IntRange(low=1, high=2)}
    )
    result = StudyRunner(studies, cheap, prepared, None, NoProgress()).run()
    assert 10 <= result.complete < 40
    assert result.stopped is not None
    assert "less than its cost" in result.stopped


def test_cost_in_dollars_takes_them_from_the_score(studies: Studies, prepared: Prepared) -> None:
    request = request_of(cost_weight=1000.0, cost_unit="usd", n_trials=3, pruner="median", folds=2)
    result = StudyRunner(studies, request, prepared, None, NoProgress()).run()
    assert result.cost_reference_s == pytest.approx(72_000.0), "a core costs a dollar in twenty hours"
    assert result.best is not None
    assert result.best.seconds is not None
    assert result.best.score == pytest.approx(result.best.values["accuracy"] - 1000 * result.best.seconds / 72_000)
    assert result.best.rule.endswith("dollars")


def test_several_objectives(studies: Studies, prepared: Prepared) -> None:
    result = StudyRunner(
        studies, request_of(objectives=("accuracy", "f1"), n_trials=16, sampler="random"), prepared, None, NoProgress()
    ).run()
    assert result.pruned > 0, "a trial that half of the others beat in both is ended"
    assert result.best is not None
    assert result.best.number in result.best.front
    assert set(result.best.values) == {"accuracy", "f1"}


def test_a_trial_of_a_dead_process_is_tried_again(studies: Studies, prepared: Prepared) -> None:
    StudyRunner(studies, request_of(n_trials=2), prepared, None, NoProgress()).run()
    study = studies.load("s")
    lost = study.ask()
    lost.suggest_int("n_estimators", 2, 12)
    lost.suggest_int("max_depth", 1, 6)
    lost.set_user_attr(OWNER, f"{socket.gethostname()}:999999:1")
    alive = study.ask()
    alive.set_user_attr(OWNER, owner())
    assert studies.recover(study) == 1
    # the one that runs elsewhere is one of the four
    StudyRunner(studies, request_of(n_trials=4), prepared, None, NoProgress()).run()
    trials = result_of(studies, "s")[2]
    assert [trial.state for trial in trials[:4]] == ["complete", "complete", "fail", "running"]
    assert trials[4].params == trials[2].params
    assert trials[4].state in {"complete", "pruned"}


class Unlucky(TrialProcesses):
    """Kills the process of its second trial when that has finished a fold."""

    def answer(self, number: int, *, go: bool) -> None:
        """Answer all others."""
        pid = self._links[number].pid
        if number == 1 and pid is not None:
            os.kill(pid, signal.SIGKILL)
        else:
            super().answer(number, go=go)


def test_a_trial_whose_process_is_killed_fails_alone_and_is_made_up_for(studies: Studies, prepared: Prepared) -> None:
    pool = object.__new__(Unlucky)
    pool.__dict__ = SHARED[0].__dict__  # the server that is there
    request = request_of(sampler="random", budget_usd=1.0)
    result = Runner(studies, request, prepared, None, NoProgress(), processes=pool).run()
    assert (result.complete, result.failed) == (3, 1)
    killed = result_of(studies, "s")[2][1]
    assert (killed.number, killed.state) == (1, "fail")
    assert killed.attributes["failed"] == "its process was ended by signal 9; out of memory?"
    assert len(killed.attributes["steps"]) == 1
    assert killed.attributes["cpu_s"] > 0
    assert killed.attributes["cost_usd_micros"] >= 0
    again = StudyRunner(studies, request, prepared, None, NoProgress()).run()
    assert (again.complete, again.failed, again.trials) == (4, 1, 5)


def test_a_resumed_search_does_not_draw_the_same_again(studies: Studies, prepared: Prepared) -> None:
    share = {"n_estimators": IntRange(low=2, high=3), "max_features": FloatRange(low=0.1, high=1.0)}
    for trials in (2, 3, 5):
        request = request_of(sampler="random", pruner="none", n_trials=trials, dimensions=share)
        StudyRunner(studies, request, prepared, None, NoProgress()).run()
    assert len({trial.params["max_features"] for trial in result_of(studies, "s")[2]}) == 5


def test_a_killed_search_loses_no_finished_trial(tmp_path: Path) -> None:
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from pathlib import Path\n"
        "from maestro.clients.optuna import Studies\n"
        "studies = Studies('sqlite:///' + sys.argv[1])\n"
        "study = studies.open('k', ['maximize'], None, None)\n"
        "import time\n"
        "for _ in range(1000):\n"
        "    trial, params = studies.ask(study, lambda trial: {'x': trial.suggest_float('x', 0, 1)})\n"
        "    print(trial.number, flush=True); time.sleep(0.05)\n"
        "    studies.tell(study, trial, 'complete', [params['x']], {})\n"
    )
    path = tmp_path / "optuna.db"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "5":
            process.kill()
            break
    process.wait()
    process.stdout.close()
    studies = Studies(f"sqlite:///{path}")
    study = studies.load("k")
    assert studies.recover(study) == 1
    states = [trial.state for trial in studies.trials(study)]
    assert states == ["complete"] * 5 + ["fail", "waiting"]


def test_mistakes_are_named(studies: Studies, prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="'x' does not exist"):
        studies.load("x")
    with pytest.raises(BadInput, match="'beauty' is not a metric") as objective:
        StudyRunner(studies, request_of(objectives=("beauty",)), prepared, None, NoProgress()).run()
    assert objective.value.field == "objectives"
    with pytest.raises(BadInput, match="'width' is unknown"):
        StudyRunner(
            studies, request_of(name="w", dimensions={"width": FloatRange(low=0, high=1)}), prepared, None, NoProgress()
        ).run()
    StudyRunner(studies, request_of(name="one", n_trials=1), prepared, None, NoProgress()).run()
    with pytest.raises(BadInput, match="exists with objectives"):
        StudyRunner(studies, request_of(name="one", objectives=("accuracy", "f1")), prepared, None, NoProgress()).run()
    others: dict[str, dict[str, object]] = {
        "objectives": {"objectives": ("f1",)},
        "space": {"space": "gradient_boosting"},
        "data.feature_service": {"data": DataSpec(feature_service="tumour_v1")},
        "dimensions": {"n_trials": 2, "dimensions": SMALL | {"max_depth": IntRange(low=1, high=6, log=True)}},
    }
    for field, fields in others.items():
        with pytest.raises(BadInput, match="'one'") as other:
            StudyRunner(studies, request_of(name="one", **fields), prepared, None, NoProgress()).run()
        assert other.value.field == field
    request = result_of(studies, "one")[0]
    assert request is not None
    assert request.objectives == ("accuracy",), "what was refused is not what the study was asked for"
    with pytest.raises(Unreachable, match="study storage"):
        Studies(f"sqlite:///{tmp_path}/no/such/folder/optuna.db").load("x")
    began = time.monotonic()
    with pytest.raises(Unreachable, match="MLflow"):
        StudyRunner(studies, request_of(name="m"), prepared, Tracking("http://127.0.0.1:9"), NoProgress()).run()
    assert time.monotonic() - began < 10
