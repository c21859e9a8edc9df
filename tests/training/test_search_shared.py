"""Several searches of one study, at once or after each other: its places, and what each trial was started with."""

from __future__ import annotations

import socket

from maestro.clients.optuna import OWNER, Studies
from maestro.core.seams import NoProgress
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.search.limits import LIMITS
from maestro.training.search.result import result_of
from maestro.training.search.scoring import trial_micros
from tests.training.test_study import StudyRunner, _libraries_warn, prepared, processes, request_of, studies

__all__ = ["_libraries_warn", "prepared", "processes", "studies"]


def test_a_lost_trial_is_booked_by_the_limit_that_it_was_started_with(studies: Studies, prepared: Prepared) -> None:
    """Also when the study was resumed since by another limit, while the trial still ran."""
    request = request_of(n_trials=1, trial_timeout_s=9.0, pruner="none")
    StudyRunner(studies, request, prepared, None, NoProgress()).run()
    trials = studies.load("s").get_trials()
    assert trials[0].user_attrs[LIMITS] == {"timeout_s": 9.0, "grace_s": 1.0, "cores": 1.0}
    running, _ = studies.ask(studies.load("s"), request.search_space.suggest, attributes=trials[0].user_attrs)
    shorter = request.model_copy(update={"n_trials": 3, "trial_timeout_s": 2.0})
    StudyRunner(studies, shorter, prepared, None, NoProgress()).run()
    running.set_user_attr(OWNER, f"{socket.gethostname()}:999999:1")
    StudyRunner(studies, shorter, prepared, None, NoProgress()).run()
    lost = result_of(studies, "s")[2][1]
    assert (lost.state, lost.attributes["cost_usd_micros"]) == ("fail", trial_micros(10.0))
    assert studies.load("s").get_trials()[-1].user_attrs[LIMITS]["timeout_s"] == 2.0, "tried again, by the new limit"


def test_searches_of_one_study_do_together_what_was_asked_for(studies: Studies, prepared: Prepared) -> None:
    theirs = Studies(studies.url)

    class Meanwhile(NoProgress):
        """Another search of the same study ends one trial and runs a second when the first has ended."""

        def update(self, fraction: float, message: str) -> None:
            if message.startswith("trial 0"):
                study = theirs.load("s")
                for _ in range(2):
                    trial, _ = theirs.ask(study, request.search_space.suggest, at_most=5)
                theirs.tell(study, trial, "complete", [0.5], {"seconds": 0.1})

    request = request_of(n_trials=5, pruner="none", sampler="random")
    result = StudyRunner(studies, request, prepared, None, Meanwhile()).run()
    assert result.stopped == "the trials that are left are run by another process"
    states = [trial.state for trial in result_of(studies, "s")[2]]
    assert sorted(states) == ["complete"] * 4 + ["running"]


def test_a_search_whose_last_trials_others_have_ended_is_done(studies: Studies, prepared: Prepared) -> None:
    theirs = Studies(studies.url)

    class Meanwhile(NoProgress):
        """Another search of the same study ends the other two trials when the first has ended."""

        def update(self, fraction: float, message: str) -> None:
            if message.startswith("trial 0"):
                study = theirs.load("s")
                for _ in range(2):
                    trial, _ = theirs.ask(study, request.search_space.suggest, at_most=3)
                    theirs.tell(study, trial, "complete", [0.5], {"seconds": 0.1})

    request = request_of(n_trials=3, pruner="none", sampler="random")
    result = StudyRunner(studies, request, prepared, None, Meanwhile()).run()
    assert result.stopped is None
    assert (result.trials, result.complete) == (3, 3)


def test_a_search_makes_up_for_another_that_died_meanwhile(studies: Studies, prepared: Prepared) -> None:
    class Meanwhile(NoProgress):
        """Another search takes a trial when the first has ended, and dies."""

        def update(self, fraction: float, message: str) -> None:
            if message.startswith("trial 0"):
                lost, _ = studies.ask(studies.load("s"), request.search_space.suggest)
                lost.set_user_attr(OWNER, f"{socket.gethostname()}:999999:1")

    request = request_of(n_trials=3, pruner="none", sampler="random")
    StudyRunner(studies, request, prepared, None, Meanwhile()).run()
    trials = result_of(studies, "s")[2]
    assert [trial.state for trial in trials].count("complete") == 3
    (lost,) = [trial for trial in trials if trial.state == "fail"]
    assert lost.attributes["cost_usd_micros"] > 0
    assert [trial.params for trial in trials].count(lost.params) == 2, "its parameters are tried again"
