"""Runs a study: resumes what is there, records every trial in MLflow, keeps to its time, freezes its cost reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maestro.clients import optuna as adapter
from maestro.clients.mlflow import Tracking
from maestro.clients.optuna import Studies, TrialInfo
from maestro.core.errors import BadInput
from maestro.core.model import Model
from maestro.core.rates import load_rates
from maestro.core.seams import Progress
from maestro.decisions.cost import Allocation, bill, cost_aware_score
from maestro.training.models import model_type
from maestro.training.naming import experiment_name
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.search.objective import cross_validate, fold_report, objective_values
from maestro.training.search.report import study_page
from maestro.training.search.request import StudyRequest
from maestro.training.search.scoring import (
    STARTUP,
    Best,
    best,
    directions,
    raw_score,
    reference_seconds,
    trained_seconds,
)

if TYPE_CHECKING:
    from optuna import Study, Trial

REFERENCE = "maestro.cost_reference_s"
REQUEST = "maestro.request"
RUN = "maestro.run_id"


class StudyResult(Model):
    """What a study came to."""

    name: str
    run_id: str | None = None
    trials: int
    complete: int
    pruned: int
    failed: int
    seconds: float
    cost_usd_micros: int
    cost_reference_s: float | None = None
    best: Best | None = None
    importance: dict[str, float] = {}


@dataclass
class StudyRunner:
    """One study over prepared data.

    Attributes:
        studies: the storage.
        request: what is asked for.
        prepared: the data; only its training side is used.
        tracking: MLflow, or None to record nothing there.
        progress: told after every trial.
        told: called with each finished trial as plain values.
    """

    studies: Studies
    request: StudyRequest
    prepared: Prepared
    tracking: Tracking | None
    progress: Progress
    told: Callable[[TrialInfo, str | None, int], None] | None = None

    def run(self) -> StudyResult:
        """Run the trials that are still missing, then write the report.

        Raises:
            BadInput: the space, an objective or a parameter is wrong.
            Unreachable: the storage or MLflow does not answer.
        """
        request = self.request
        space = request.search_space
        kind = model_type(space.model_type)
        study = self._open()
        self.studies.recover(study)
        study.set_user_attr(REQUEST, request.document())
        experiment_id, parent = self._parent_run(study)
        before = [trial for trial in self.studies.trials(study) if trial.state in {"complete", "pruned"}]
        left = request.n_trials - len(before)
        count = len(before)
        self.progress.update(min(count / request.n_trials, 1.0), f"{count} of {request.n_trials} trials")

        def objective(trial: Trial) -> float | list[float]:
            params = space.suggest(trial)
            measured = cross_validate(kind, params, self.prepared, request, fold_report(trial, request))
            values = objective_values(measured, request)
            if request.cost_weight == 0.0:
                return values[0] if len(values) == 1 else values
            reference = self._reference(study, measured.seconds)
            # less is better: the cost is added to what is minimised
            sign = 1.0 if directions(request.objectives) == ["maximize"] else -1.0
            return sign * cost_aware_score(
                sign * values[0], measured.seconds, cost_weight=request.cost_weight, reference_seconds=reference
            )

        def after(current: Study, trial: TrialInfo) -> None:
            nonlocal count
            count += 1
            micros = _micros(trained_seconds(trial))
            run_id = self._log_trial(experiment_id, parent, trial, micros)
            if self.told is not None:
                self.told(trial, run_id, micros)
            self.progress.update(min(count / request.n_trials, 0.99), f"trial {trial.number}: {_words(trial, request)}")

        if left > 0:
            self.studies.optimize(
                study, objective, trials=left, jobs=request.n_jobs, timeout_s=request.timeout_s, after=after
            )
        return self._finish(study, parent)

    def _open(self) -> Study:
        request = self.request
        grid = request.search_space.grid() if request.sampler == "grid" else None
        sampler = adapter.sampler(
            request.sampler, seed=request.seed, grid=grid, startup=max(STARTUP, min(10, request.n_trials // 3))
        )
        return self.studies.open(
            request.storage_name,
            directions(request.objectives),
            sampler,
            adapter.pruner(request.pruner, steps=request.folds),
        )

    def _reference(self, study: Study, seconds: float) -> float:
        frozen = study.user_attrs.get(REFERENCE)
        if frozen is not None:
            return float(frozen)
        found, final = reference_seconds(self.studies.trials(study), self.request.cost_reference_s)
        if final and found is not None:
            study.set_user_attr(REFERENCE, found)
        # until it is frozen a trial is judged against those before it, the first against itself; `best` judges all by the frozen one
        return found if found is not None else max(seconds, 1e-6)

    def _parent_run(self, study: Study) -> tuple[str, str | None]:
        if self.tracking is None:
            return "", None
        request = self.request
        name = request.experiment or request.name
        experiment_id = self.tracking.experiment(experiment_name(request.tenant_id, name))
        run_id = study.user_attrs.get(RUN)
        if run_id is None:
            tags = {"maestro.study": request.name, "maestro.tenant": request.tenant_id, "maestro.kind": "study"}
            run_id = self.tracking.start_run(experiment_id, request.name, tags)
            self.tracking.log(run_id, params={
                "space": request.space, "sampler": request.sampler, "pruner": request.pruner, "objectives": ",".join(request.objectives),
                "cost_weight": request.cost_weight, "feature_service": request.data.feature_service, "seed": request.seed, "folds": request.folds,
            })  # fmt: skip
            study.set_user_attr(RUN, run_id)
        return experiment_id, str(run_id)

    def _log_trial(self, experiment_id: str, parent: str | None, trial: TrialInfo, micros: int) -> str | None:
        if self.tracking is None or parent is None:
            return None
        run_id = self.tracking.start_run(
            experiment_id,
            f"{self.request.name}-{trial.number}",
            {
                "maestro.study": self.request.name,
                "maestro.trial": str(trial.number),
                "maestro.trial_state": trial.state,
            },
            parent,
        )
        metrics = {
            name: float(value)
            for name, value in trial.attributes.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        if trial.values is not None and len(trial.values) == 1:
            metrics["objective"] = trial.values[0]
        self.tracking.log(run_id, params=trial.params, metrics=metrics | {"cost_usd": micros / 1e6})
        self.tracking.end_run(run_id, "FAILED" if trial.state == "fail" else "FINISHED")
        return run_id

    def _finish(self, study: Study, parent: str | None) -> StudyResult:
        trials = self.studies.trials(study)
        request = self.request
        if not any(trial.state == "complete" for trial in trials) and any(trial.state == "fail" for trial in trials):
            raise BadInput("every trial failed", field="dimensions", remedy="see the trials' errors; narrow the space")
        frozen = study.user_attrs.get(REFERENCE)
        reference = float(frozen) if frozen is not None else reference_seconds(trials, request.cost_reference_s)[0]
        if request.cost_weight > 0.0 and frozen is None and reference is not None:
            study.set_user_attr(REFERENCE, reference)
        seconds = sum(trained_seconds(trial) for trial in trials if trial.state in {"complete", "pruned"})
        result = StudyResult(
            name=request.name, run_id=parent, trials=len(trials), complete=_count(trials, "complete"), pruned=_count(trials, "pruned"),
            failed=_count(trials, "fail"), seconds=round(seconds, 4), cost_usd_micros=_micros(seconds),
            cost_reference_s=reference if request.cost_weight > 0.0 else None, best=best(trials, request, reference),
            importance=self.studies.importance(study),
        )  # fmt: skip
        if self.tracking is not None and parent is not None:
            self._log_result(study, parent, result)
        self.progress.update(1.0, f"{result.complete} trials completed, {result.pruned} pruned")
        return result

    def _log_result(self, study: Study, parent: str, result: StudyResult) -> None:
        tracking = self.tracking
        if tracking is None:
            return
        metrics = {
            "trials": result.trials,
            "trials_complete": result.complete,
            "trials_pruned": result.pruned,
            "train_seconds": result.seconds,
            "cost_usd": result.cost_usd_micros / 1e6,
        }
        if result.best is not None:
            metrics |= {f"best_{name}": value for name, value in result.best.values.items()}
        tracking.log(
            parent, metrics=metrics, tags={"maestro.best_trial": str(result.best.number) if result.best else ""}
        )
        tracking.log_text(parent, study_page(study, self.request, result), "study.html")
        tracking.end_run(parent, "FINISHED")


def result_of(studies: Studies, name: str) -> tuple[StudyRequest | None, StudyResult, list[TrialInfo]]:
    """A stored study, its result so far and its trials.

    Raises:
        NotFound: no such study.
    """
    study = studies.load(name)
    trials = studies.trials(study)
    document = study.user_attrs.get(REQUEST)
    request = StudyRequest.model_validate(document) if document else None
    frozen = study.user_attrs.get(REFERENCE)
    seconds = sum(trained_seconds(trial) for trial in trials if trial.state in {"complete", "pruned"})
    result = StudyResult(
        name=name, run_id=study.user_attrs.get(RUN), trials=len(trials), complete=_count(trials, "complete"), pruned=_count(trials, "pruned"),
        failed=_count(trials, "fail"), seconds=round(seconds, 4), cost_usd_micros=_micros(seconds), cost_reference_s=frozen,
        best=best(trials, request, frozen) if request else None, importance=studies.importance(study),
    )  # fmt: skip
    return request, result, trials


def _count(trials: list[TrialInfo], state: str) -> int:
    return sum(trial.state == state for trial in trials)


def _micros(seconds: float) -> int:
    return bill(Allocation(wall_s=seconds, cores=1), load_rates()).total


def _words(trial: TrialInfo, request: StudyRequest) -> str:
    if trial.state != "complete":
        return trial.state
    return f"{request.objectives[0]} {raw_score(trial, request):.4g} in {trained_seconds(trial):.2g} s"


def write_page(studies: Studies, name: str, request: StudyRequest, result: StudyResult, path: Path) -> None:
    """Write the study's page to a file.

    Raises:
        BadInput: the file cannot be written.
    """
    try:
        path.write_text(study_page(studies.load(name), request, result))
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written: {error.strerror}", field="--html", remedy="correct the path"
        ) from None
