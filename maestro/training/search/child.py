"""A study as a job's attempt."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

from maestro.clients.home import Home
from maestro.clients.mlflow import Tracking
from maestro.clients.optuna import Studies, TrialInfo
from maestro.core.seams import Progress
from maestro.training.backends import Attempt
from maestro.training.job import Outcome
from maestro.training.models import model_type
from maestro.training.naming import experiment_name
from maestro.training.pipeline.load import load
from maestro.training.pipeline.run import prepare
from maestro.training.search.processes import TrialProcesses
from maestro.training.search.request import StudyRequest
from maestro.training.search.storage import storage_url
from maestro.training.search.study import StudyRunner
from maestro.training.search.trials import Submission, runner_of
from maestro.training.signals import send


def run_study(
    attempt: Attempt, tracking: Tracking, home: Home, progress: Progress, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run or resume the study that the job's `params.study` describes.

    Raises:
        MaestroError: the request, the data, MLflow or the storage is at fault.
    """
    request = StudyRequest.model_validate(attempt.request.params["study"])
    began = datetime.now(UTC)
    tracking.check()
    progress.update(0.0, "loading")

    def told(trial: TrialInfo, run_id: str | None, micros: int) -> None:
        fields = trial.document() | {"run_id": run_id, "cost_usd_micros": micros, "told": time.time()}
        if runner_of(request.backend).outlives and trial.finished is not None and trial.finished >= began:
            # its process is not this one's child: nobody else accounts for it
            fields["elsewhere_cpu_s"] = trial.attributes.get("cpu_s", 0.0)
        send("trial", fields)

    submission = Submission(attempt.submitted_by, attempt.folder / "trials", say)
    # where trials are processes, their libraries load while the data do
    with TrialProcesses() if runner_of(request.backend) is TrialProcesses else nullcontext() as processes:
        loaded = load(request.data, home.features, home.data)
        space = request.search_space
        prepared = prepare(model_type(space.model_type), loaded, space.fixed, request.seed)
        say(f"searching {request.space} on {len(prepared.train)} rows of {loaded.info.dataset} {loaded.info.version}")
        # the queue lets one job of a study run at a time, and each attempt of it has a fence of its own
        studies = Studies(storage_url(home), lease=attempt.handle)
        study_id = attempt.request.params.get("study_id")
        result = StudyRunner(
            studies, request, prepared, tracking, progress, told, processes, submission, study_id
        ).run()
    if result.stopped:
        say(result.stopped)
    metrics = {f"best_{name}": value for name, value in (result.best.values if result.best else {}).items()}
    outcome = Outcome(
        run_id=result.run_id,
        experiment=experiment_name(request.tenant_id, request.experiment or request.name),
        metrics=metrics,
        details={"study": result.document()},
    )
    return outcome.document()
