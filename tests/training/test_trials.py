"""One conformance suite for what runs trials: processes beside the search, and jobs of a training backend."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Set
from pathlib import Path

import pytest

from maestro.clients.mlflow import Tracking
from maestro.clients.mlflow_files import fetch_file
from maestro.clients.optuna import OWNER, Studies, pruner
from maestro.clients.optuna_samplers import sampler
from maestro.core.errors import BadInput, NotFound
from maestro.core.seams import NoProgress
from maestro.training.backends import LocalBackend
from maestro.training.models import model_type
from maestro.training.search.frame import read_frame, write_frame
from maestro.training.search.jobs import Origin, TrialJobs, studies_of
from maestro.training.search.limits import Limits
from maestro.training.search.objective import cross_validate
from maestro.training.search.processes import TrialProcesses
from maestro.training.search.request import StudyRequest
from maestro.training.search.result import REQUEST
from maestro.training.search.scoring import trial_micros
from maestro.training.search.spaces import IntRange
from maestro.training.search.study import StudyRunner
from maestro.training.search.trials import Begun, Ended, Setting, Step, Submission, Trials, runner_of, trials_of
from tests.training.test_trial_server import setting

GOOD = {"n_estimators": 3}
ENDLESS = {"n_estimators": 300_000}


def with_timeout(of: Setting, seconds: float) -> Setting:
    request = of.request.model_copy(update={"trial_timeout_s": seconds})
    return Setting(request, of.prepared, of.judged)


@pytest.fixture
def jobs_on(tracking: Tracking, tmp_path: Path) -> Callable[[LocalBackend, Setting], TrialJobs]:
    """Makes a runner whose jobs are processes of this machine, as a cluster's are pods."""
    run_id = tracking.start_run(tracking.experiment("trials"), "study", {})

    def made(backend: LocalBackend, of: Setting) -> TrialJobs:
        origin = Origin(of.request, "study-1", "human:ada", tmp_path / "trials", tracking.url)
        pool = TrialJobs(backend, origin, tracking, run_id, every_s=0.1)
        pool.load(of)
        return pool

    return made


@pytest.fixture(params=["processes", "jobs"])
def pool_of(request: pytest.FixtureRequest) -> Iterator[Callable[[Setting], Trials]]:
    made: list[Trials] = []
    jobs_on = request.getfixturevalue("jobs_on") if request.param == "jobs" else None

    def of(wanted: Setting) -> Trials:
        if jobs_on is not None:
            made.append(jobs_on(LocalBackend(), wanted))
        else:
            made.append(TrialProcesses())
            made[-1].load(wanted)
        return made[-1]

    yield of
    for pool in made:
        pool.close()


def heard(pool: Trials, numbers: set[int], *, ends: Set[int] = frozenset()) -> dict[int, list[Step | Ended]]:
    """Everything of some trials up to their ends; those in `ends` are told to end at their first step."""
    events: dict[int, list[Step | Ended]] = {number: [] for number in numbers}
    deadline = time.monotonic() + 90
    while numbers and time.monotonic() < deadline:
        for event in pool.wait(1.0):
            assert event.number in numbers, "nothing comes after a trial's end"
            events[event.number].append(event)
            if isinstance(event, Step):
                pool.answer(event.number, go=event.number not in ends)
            else:
                numbers = numbers - {event.number}
    assert not numbers, events
    return events


@pytest.mark.slow
def test_each_trial_tells_its_steps_and_one_end_with_what_it_used(pool_of: Callable[[Setting], Trials]) -> None:
    pool = pool_of(with_timeout(setting(judged=False), 2.0))
    pool.start(1, GOOD, 2.0)
    pool.start(2, {"width": 3}, 2.0)
    pool.start(3, ENDLESS, 2.0)
    events = heard(pool, {1, 2, 3})
    first, second, end = events[1]
    assert isinstance(first, Step)
    assert isinstance(second, Step)
    assert isinstance(end, Ended)
    assert (first.step, second.step, end.code, end.timed_out, end.problem, end.failed) == (1, 2, 0, False, None, "")
    assert end.metrics is not None
    assert end.metrics["accuracy"] == pytest.approx(second.means["accuracy"])
    of = setting(judged=False)
    here = cross_validate(model_type("classifier"), GOOD, of.prepared, of.request, lambda *_: None)
    assert end.metrics["accuracy"] == here.metrics["accuracy"], "the same data, folds and seed everywhere"
    assert end.cpu_s > 0
    assert end.wall_s >= end.metrics["seconds"]
    assert end.peak_memory_bytes > 2**20
    (mistake,) = events[2]
    assert isinstance(mistake, Ended)
    assert mistake.problem is not None
    assert mistake.problem["field"] == "params.width"
    (late,) = events[3]
    assert isinstance(late, Ended)
    assert (late.timed_out, late.metrics, late.problem, late.failed) == (True, None, None, "")
    assert late.cpu_s > 1.0
    assert 2.0 <= late.wall_s <= 2.0 + pool.grace_s


@pytest.mark.slow
def test_a_hopeless_trial_ends_after_its_step_and_a_dropped_one_at_once(pool_of: Callable[[Setting], Trials]) -> None:
    pool = pool_of(setting(judged=True))
    pool.start(1, {"n_estimators": 3000}, 60.0)
    step, end = heard(pool, {1}, ends={1})[1]
    assert isinstance(step, Step)
    assert isinstance(end, Ended)
    assert (step.step, end.metrics, end.problem, end.failed, end.timed_out) == (1, None, None, "", False)
    pool.start(2, ENDLESS, 60.0)
    began = time.monotonic()
    pool.drop()
    assert time.monotonic() - began < 10
    assert pool.wait(0.2) == []


@pytest.mark.slow
def test_whoever_comes_after_a_dead_search_goes_on_with_its_jobs(
    jobs_on: Callable[[LocalBackend, Setting], TrialJobs], tracking: Tracking, tmp_path: Path
) -> None:
    """Nothing is submitted twice, what nobody knows any more is ended, and the data go when the last has ended."""
    backend = LocalBackend()
    first = jobs_on(backend, setting(judged=False))
    first.start(1, GOOD, 60.0)
    first.start(9, ENDLESS, 60.0)
    process = backend._groups["study-1-t1-1"].workers[0].process
    second = jobs_on(backend, setting(judged=False))
    second.resume({1: Begun(GOOD, 60.0, 1.0)})
    assert studies_of(backend) == {"study-1": ["study-1-t1-1"]}
    assert backend._groups["study-1-t1-1"].workers[0].process is process
    end = heard(second, {1})[1][-1]
    assert isinstance(end, Ended)
    assert end.metrics is not None
    # the search died before it wrote the end down: a third one hears it again
    third = jobs_on(backend, setting(judged=False))
    third.resume({1: Begun(GOOD, 60.0, 1.0)})
    again = heard(third, {1})[1]
    assert next(event for event in again if isinstance(event, Ended)).metrics == end.metrics
    assert backend._groups["study-1-t1-1"].workers[0].process is process
    frame = third._frame
    assert frame is not None
    third.close()
    assert studies_of(backend) == {}
    with pytest.raises(NotFound):
        fetch_file(tracking.url, frame.uri, tmp_path / "gone.parquet")


class Impatient(TrialJobs):
    """Bills a trial for hardly longer than its limit."""

    grace_s = 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("budget_usd", "goes_on"), [(1.0, True), (0.000_200, False)])
def test_a_job_keeps_to_the_limit_and_the_cores_that_it_was_started_with(
    budget_usd: float, goes_on: bool, tracking: Tracking, tmp_path: Path
) -> None:
    """Though the study is resumed by another limit, other cores and with a budget that has no room for its worst case."""
    backend = LocalBackend()
    of = with_timeout(setting(judged=False), 60.0)
    run_id = tracking.start_run(tracking.experiment("trials"), "study", {})

    def pool_for(request: StudyRequest) -> TrialJobs:
        origin = Origin(request, "study-2", "human:ada", tmp_path / "trials", tracking.url)
        return Impatient(backend, origin, tracking, run_id, every_s=0.1)

    wanted = {"dimensions": {"n_estimators": IntRange(low=3, high=4)}, "n_trials": 1, "pruner": "none"}
    began = of.request.model_copy(update=wanted)
    studies = Studies(f"sqlite:///{tmp_path / 'optuna.db'}")
    study = studies.open("s", ["maximize"], sampler("random", seed=0), pruner("none", steps=2))
    study.set_user_attr(REQUEST, began.document())
    trial, params = studies.ask(study, began.search_space.suggest, attributes=Limits.of(began, 0.0).attributes())
    first = pool_for(began)
    first.load(of)
    first.start(trial.number, began.search_space.fixed | params, 60.0)
    trial.set_user_attr(OWNER, f"{socket.gethostname()}:999999:1")
    other = began.model_copy(update={"trial_timeout_s": 0.2, "trial_cpu": 3.0, "budget_usd": budget_usd})
    with pool_for(other) as second:
        runner = StudyRunner(studies, other, of.prepared, tracking, NoProgress(), None, second, study_id="study-2")
        runner.run()
    # where it did not go on, what it may have cost leaves no room for another
    (found,) = studies.trials(study)
    if goes_on:
        wall_s = found.attributes["wall_s"]
        assert wall_s > 0.3, "not cut to the new limit"
        assert (found.state, found.attributes["cost_usd_micros"]) == ("complete", trial_micros(wall_s, 1.0))
    else:
        # its own limit, and the time beyond it for which this runner may bill
        assert (found.state, found.attributes["cost_usd_micros"]) == ("fail", trial_micros(60.1, 1.0))


def test_the_data_come_back_as_they_were_and_no_others_are_taken(tmp_path: Path) -> None:
    prepared = setting(judged=False).prepared
    path = tmp_path / "frame.parquet"
    digest = write_frame(prepared, path)
    assert write_frame(prepared, path) == digest
    found = read_frame(path, digest)
    assert found.train.equals(prepared.train)
    assert (found.train_target == prepared.train_target).all()
    assert found.features == prepared.features
    assert found.holdout.empty
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BadInput, match="have digest") as refused:
        read_frame(path, digest)
    assert refused.value.field == "data"


def test_a_backend_is_a_known_one(tmp_path: Path) -> None:
    assert runner_of("local") is TrialProcesses
    with pytest.raises(BadInput, match="'slurm' is unknown") as unknown:
        runner_of("slurm")
    assert unknown.value.field == "backend"
    with pytest.raises(BadInput, match="needs a cluster"):
        runner_of("kubeflow")
    request = setting(judged=False).request
    pool = trials_of(request, "study-1", None, None, Submission("human:ada", tmp_path))
    assert isinstance(pool, TrialProcesses)
    pool.close()
