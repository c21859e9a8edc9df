"""Studies on a real Optuna storage with real models: recorded, resumed, pruned, budgeted."""

from __future__ import annotations

import re
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
from maestro.clients.optuna import OWNER, Studies, owner
from maestro.core.contract import Feature
from maestro.core.errors import BadInput, NotFound, Unreachable
from maestro.core.jobs import DataSpec
from maestro.core.seams import NoProgress
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.search.request import StudyRequest
from maestro.training.search.spaces import FloatRange, IntRange
from maestro.training.search.study import StudyRunner, result_of

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


def request_of(**fields: object) -> StudyRequest:
    values: dict[str, object] = {
        "name": "s",
        "data": DataSpec(feature_service="digits_v1"),
        "dimensions": SMALL,
        "n_trials": 4,
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
        StudyRunner(studies, request_of(name=name, n_trials=8, pruner="none"), prepared, None, NoProgress()).run()
    one, two = (result_of(studies, name)[2] for name in ("a", "b"))
    assert [trial.params for trial in one] == [trial.params for trial in two]
    assert [trial.values for trial in one] == [trial.values for trial in two]


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
@pytest.mark.parametrize("pruner", ["median", "hyperband", "none"])
def test_samplers_and_pruners_work_together(sampler: str, pruner: str, studies: Studies, prepared: Prepared) -> None:
    result = StudyRunner(
        studies, request_of(sampler=sampler, pruner=pruner, n_trials=7), prepared, None, NoProgress()
    ).run()
    assert result.complete + result.pruned == 7
    assert result.failed == 0
    assert result.best is not None
    if pruner == "none":
        assert result.pruned == 0


def test_a_hopeless_trial_is_pruned_and_still_says_what_it_cost(studies: Studies, prepared: Prepared) -> None:
    result = StudyRunner(studies, request_of(n_trials=25, sampler="random"), prepared, None, NoProgress()).run()
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
    slow = StudyRunner(
        studies, request_of(name="slow", n_trials=2, trial_timeout_s=0.001), prepared, None, NoProgress()
    ).run()
    assert slow.pruned == 2
    assert slow.best is None
    assert all(trial.attributes["timed_out"] for trial in result_of(studies, "slow")[2])


def test_several_objectives(studies: Studies, prepared: Prepared) -> None:
    result = StudyRunner(
        studies, request_of(objectives=("accuracy", "f1"), n_trials=8), prepared, None, NoProgress()
    ).run()
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
    StudyRunner(studies, request_of(n_trials=3), prepared, None, NoProgress()).run()
    trials = result_of(studies, "s")[2]
    assert [trial.state for trial in trials[:4]] == ["complete", "complete", "fail", "running"]
    assert trials[4].params == trials[2].params
    assert trials[4].state in {"complete", "pruned"}


def test_a_killed_search_loses_no_finished_trial(tmp_path: Path) -> None:
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from pathlib import Path\n"
        "from maestro.clients.optuna import Studies\n"
        "study = Studies('sqlite:///' + sys.argv[1]).open('k', ['maximize'], None, None)\n"
        "import time\n"
        "def objective(trial):\n"
        "    x = trial.suggest_float('x', 0, 1); print(trial.number, flush=True); time.sleep(0.05); return x\n"
        "Studies('sqlite:///' + sys.argv[1]).optimize(study, objective, trials=1000, jobs=1, timeout_s=None, after=lambda *_: None)\n"
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
    with pytest.raises(Unreachable, match="study storage"):
        Studies(f"sqlite:///{tmp_path}/no/such/folder/optuna.db").load("x")
    began = time.monotonic()
    with pytest.raises(Unreachable, match="MLflow"):
        StudyRunner(studies, request_of(name="m"), prepared, Tracking("http://127.0.0.1:9"), NoProgress()).run()
    assert time.monotonic() - began < 10
