"""What runs a search's trials: one seam, one implementation a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from maestro.clients.mlflow import Tracking
from maestro.core.errors import BadInput
from maestro.training.backends import backend, check_backend
from maestro.training.search._trials import Begun, Ended, Setting, Step, Trials
from maestro.training.search.jobs import Origin, TrialJobs
from maestro.training.search.processes import LOCAL, TrialProcesses
from maestro.training.search.request import StudyRequest

__all__ = ["Begun", "Ended", "Setting", "Step", "Submission", "Trials", "runner_of", "trials_of"]


@dataclass(frozen=True)
class Submission:
    """On whose behalf trials are submitted.

    Attributes:
        submitted_by: the principal.
        folder: where a backend of this machine puts what its trials leave.
        say: given lines for the study's log, such as why a trial waits.
    """

    submitted_by: str
    folder: Path
    say: Callable[[str], None] | None = None


def runner_of(name: str) -> type[TrialProcesses] | type[TrialJobs]:
    """What runs the trials of a study whose backend is `name`.

    Raises:
        BadInput: there is no such backend; the known ones are listed.
    """
    check_backend(name)
    return TrialProcesses if name == LOCAL else TrialJobs


def trials_of(
    request: StudyRequest, study_id: str, tracking: Tracking | None, run_id: str | None, submission: Submission
) -> Trials:
    """The runner of a study.

    Args:
        request: the study.
        study_id: by which its trials are found again.
        tracking: MLflow, through which jobs get their data.
        run_id: the study's run.
        submission: on whose behalf.

    Raises:
        BadInput: the backend is unknown, or there is no MLflow to hand data on.
    """
    if runner_of(request.backend) is TrialProcesses:
        return TrialProcesses()
    if tracking is None or run_id is None:
        raise BadInput(
            f"trials on backend {request.backend!r} get their data through MLflow",
            field="backend", remedy="name MLflow, or choose the backend local",
        )  # fmt: skip
    origin = Origin(request, study_id, submission.submitted_by, submission.folder, tracking.url)
    return TrialJobs(backend(request.backend), origin, tracking, run_id, submission.say)
