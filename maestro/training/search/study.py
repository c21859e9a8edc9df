"""Runs a study: resumes what is there, keeps to its time and money, freezes its cost reference, ends when going on is not worth it."""

from __future__ import annotations

import tempfile
import uuid
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maestro.clients import optuna as adapter
from maestro.clients import optuna_samplers as samplers
from maestro.clients.mlflow import Tracking
from maestro.clients.optuna import Studies
from maestro.core.errors import BadInput, Conflict
from maestro.core.seams import Progress
from maestro.training.models import MODEL_TYPES, model_type
from maestro.training.naming import experiment_name
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.search.limits import Limits, limits_in
from maestro.training.search.loop import Search, reference_of
from maestro.training.search.recorder import Recorder, Told
from maestro.training.search.report import study_page
from maestro.training.search.request import StudyRequest
from maestro.training.search.result import ID, REFERENCE, REQUEST, RUN, StudyResult, result_from
from maestro.training.search.scoring import MINIMISED, STARTUP, directions
from maestro.training.search.trials import Setting, Submission, Trials, runner_of, trials_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler

_TOLD = frozenset({"complete", "pruned"})


@dataclass
class StudyRunner:
    """One study over prepared data; every trial is a process or a job of its own, by the request's backend.

    Attributes:
        studies: the storage.
        request: what is asked for.
        prepared: the data; only its training side is used.
        tracking: MLflow, or None to record nothing there.
        progress: told after every trial.
        told: called with each finished trial as plain values, its run and its cost; from another thread.
        processes: what runs the trials; made by the request's backend, and ended, when it is None.
        submission: on whose behalf trials are submitted, where they are jobs.
        study_id: its id in the platform's database, by which trials that are jobs are found again; None for a study that is not there.
    """

    studies: Studies
    request: StudyRequest
    prepared: Prepared
    tracking: Tracking | None
    progress: Progress
    told: Told | None = None
    processes: Trials | None = None
    submission: Submission | None = None
    study_id: str | None = None

    def run(self) -> StudyResult:
        """Run the trials that are still missing, then write the report.

        Raises:
            BadInput: the space, the sampler, an objective or a parameter is wrong, or the study has trials that are not comparable.
            Conflict: another process searches with the same money.
            Unreachable: the storage or MLflow does not answer.
        """
        request = self.request
        _check_objectives(request)
        runner = self.processes or runner_of(request.backend)
        study = self._open()
        limits = unknown = Limits.of(request, runner.grace_s)
        if (document := study.user_attrs.get(REQUEST)) is not None:
            earlier = StudyRequest.model_validate(document)
            known = self.studies.trials(study)
            if any(trial.state in _TOLD for trial in known):
                request.check_resumes(earlier)
            if known and request.sampler != "grid":
                # the same random numbers again would try the same again; a grid has its order by them
                study.sampler = self._sampler(_seed_after(request.seed, len(known)))
            theirs = Limits.of(earlier, runner_of(earlier.backend).grace_s)
            unknown = max(limits, theirs, key=lambda each: each.worst_micros)
        found = self.studies.take_over(study, tuple(request.search_space.dimensions)) if runner.outlives else []
        self.studies.recover(study, lambda attributes: limits_in(attributes, unknown).lost())
        study.set_user_attr(REQUEST, request.document())
        if self.study_id is None and study.user_attrs.get(ID) is None:
            study.set_user_attr(ID, f"search-{uuid.uuid4().hex[:20]}")
        study_id = self.study_id or str(study.user_attrs[ID])
        experiment_id, parent = self._parent_run(study)
        recorder = Recorder(self.tracking, experiment_id, parent, request, self.told)
        try:
            before = self.studies.trials(study)
            ours = {trial.number for trial in found}
            if request.budget_usd is not None and any(t.state == "running" and t.number not in ours for t in before):
                raise Conflict(
                    f"study {request.name!r} is at work in another process, and its budget is not divided",
                    field="budget_usd", remedy="wait until it has ended, or search without a budget",
                )  # fmt: skip
            ended = [trial for trial in before if trial.state in {"complete", "pruned", "fail"}]
            recorder.resume(ended)
            search = Search(self.studies, request, self.progress, study, recorder, ended, limits, unknown)
            if search.left > 0 or found:
                submission = self.submission or Submission("maestro tune", Path(tempfile.gettempdir()))
                pool = self.processes or trials_of(request, study_id, self.tracking, parent, submission)
                with nullcontext() if self.processes is not None else closing(pool):
                    pool.load(Setting(request, self.prepared, judged=request.pruner != "none"))
                    search.run(pool, found)
        finally:
            recorder.close()
        return self._finish(study, parent, search.stopped)

    def _open(self) -> Study:
        request = self.request
        return self.studies.open(
            request.storage_name,
            directions(request.objectives, request.minimise),
            self._sampler(request.seed),
            adapter.pruner(request.pruner, steps=request.folds),
        )

    def _sampler(self, seed: int) -> BaseSampler:
        request = self.request
        space = request.search_space
        return samplers.sampler(
            request.sampler, seed=seed, grid=space.grid() if request.sampler == "grid" else None,
            startup=max(STARTUP, min(10, request.n_trials // 3)), dimensions=space.numeric,
            steps=request.folds, objectives=len(request.objectives),
        )  # fmt: skip

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

    def _finish(self, study: Study, parent: str | None, stopped: str | None) -> StudyResult:
        trials = self.studies.trials(study)
        failed = [trial for trial in trials if trial.state == "fail" and not trial.attributes.get("lost")]
        if failed and not any(trial.state == "complete" for trial in trials):
            first = str(failed[0].attributes.get("failed", ""))
            raise BadInput(
                f"every trial failed: {first}", field="dimensions", remedy="see the trials' errors; narrow the space"
            )
        if self.request.cost_weight > 0.0 and study.user_attrs.get(REFERENCE) is None:
            reference = reference_of(study, trials, self.request)[0]
            if reference is not None:
                study.set_user_attr(REFERENCE, reference)
        result = result_from(self.studies, study, self.request, trials).model_copy(
            update={"run_id": parent, "stopped": stopped}
        )
        if self.tracking is not None and parent is not None:
            metrics = {
                "trials": result.trials, "trials_complete": result.complete, "trials_pruned": result.pruned,
                "train_seconds": result.seconds, "cost_usd": result.cost_usd_micros / 1e6,
            }  # fmt: skip
            if result.best is not None:
                metrics |= {f"best_{name}": value for name, value in result.best.values.items()}
            tags = {"maestro.best_trial": str(result.best.number) if result.best else ""}
            self.tracking.log(parent, metrics=metrics, tags=tags)
            self.tracking.log_text(parent, study_page(study, self.request, result), "study.html")
            self.tracking.end_run(parent, "FINISHED")
        self.progress.update(1.0, f"{result.complete} trials completed, {result.pruned} pruned")
        return result


def _check_objectives(request: StudyRequest) -> None:
    """Refuse an objective of a plugged-in kind of model whose better side nobody has named."""
    name = request.search_space.model_type
    if name in MODEL_TYPES:
        return
    rising = model_type(name).higher_is_better
    if unknown := [each for each in request.objectives if each not in {*rising, *MINIMISED, *request.minimise}]:
        raise BadInput(
            f"objectives: kind of model {name!r} does not say that more {unknown[0]!r} is better", field="objectives",
            remedy=f"name it in minimise, too, if less is better; or choose from {', '.join(sorted({*rising, 'seconds'}))}",
        )  # fmt: skip


def _seed_after(seed: int, trials: int) -> int:
    """The seed of a search that goes on after so many trials."""
    return int(np.random.SeedSequence([seed, trials]).generate_state(1)[0])
