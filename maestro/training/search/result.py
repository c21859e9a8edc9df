"""What a study came to, read from its storage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from maestro.clients.optuna import Studies, TrialInfo
from maestro.core.errors import BadInput
from maestro.core.model import Model
from maestro.training.search.report import study_page
from maestro.training.search.request import StudyRequest
from maestro.training.search.scoring import Best, best, spent_micros, trained_seconds

if TYPE_CHECKING:
    from optuna import Study

REFERENCE = "maestro.cost_reference_s"
REQUEST = "maestro.request"
RUN = "maestro.run_id"
ID = "maestro.study_id"


class StudyResult(Model):
    """What a study came to. `seconds` were spent fitting; `cost_usd_micros` is what its trials were billed."""

    name: str
    run_id: str | None = None
    trials: int
    complete: int
    pruned: int
    failed: int
    seconds: float
    cpu_s: float = 0.0
    cost_usd_micros: int
    cost_reference_s: float | None = None
    best: Best | None = None
    importance: dict[str, float] = {}
    stopped: str | None = None


def result_from(studies: Studies, study: Study, request: StudyRequest | None, trials: list[TrialInfo]) -> StudyResult:
    """The result of a study as its trials stand."""
    frozen = study.user_attrs.get(REFERENCE)
    reference = float(frozen) if frozen is not None else None
    done = [trial for trial in trials if trial.state in {"complete", "pruned"}]
    return StudyResult(
        name=request.name if request else study.study_name, run_id=study.user_attrs.get(RUN), trials=len(trials),
        complete=_count(trials, "complete"), pruned=_count(trials, "pruned"), failed=_count(trials, "fail"),
        seconds=round(sum(map(trained_seconds, done)), 4), cpu_s=round(sum(float(trial.attributes.get("cpu_s", 0.0)) for trial in trials), 4),
        cost_usd_micros=sum(map(spent_micros, trials)), cost_reference_s=reference,
        best=best(trials, request, reference) if request else None, importance=studies.importance(study),
    )  # fmt: skip


def result_of(studies: Studies, name: str) -> tuple[StudyRequest | None, StudyResult, list[TrialInfo]]:
    """A stored study, its result so far and its trials.

    Raises:
        NotFound: no such study.
    """
    study = studies.load(name)
    trials = studies.trials(study)
    document = study.user_attrs.get(REQUEST)
    request = StudyRequest.model_validate(document) if document else None
    return request, result_from(studies, study, request, trials), trials


def page_of_study(studies: Studies, name: str) -> str:
    """The page of a stored study.

    Raises:
        NotFound: no such study.
        BadInput: it was not made here.
    """
    request, result, _ = result_of(studies, name)
    if request is None:
        raise BadInput(
            f"study {name!r} has no request of ours", field="study_name", remedy="open it with Optuna's dashboard"
        )
    return study_page(studies.load(name), request, result)


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


def _count(trials: list[TrialInfo], state: str) -> int:
    return sum(trial.state == state for trial in trials)
