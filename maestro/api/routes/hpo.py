"""Hyperparameter search (`/ai/hpo`): a study runs as a job in a worker."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, status
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.api.bodies import Strict
from maestro.api.routes.training import IdempotencyKey, Page, PageSize
from maestro.core.errors import NotFound
from maestro.core.model import Name
from maestro.core.principals import PrincipalRole
from maestro.training.job import Job
from maestro.training.search.request import StudyRequest
from maestro.training.search.spaces import SPACES, Space
from maestro.training.search.store import HistoryPoint, StudyRecord, TrialRecord

router = APIRouter(prefix="/ai/hpo", tags=["hpo"])

StudyId = Annotated[str, Path(description="the study", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]


class StudyPage(BaseModel):
    """A page of studies, newest first."""

    items: list[StudyRecord]
    page: int
    page_size: int
    total: int


class TrialPage(BaseModel):
    """A page of trials by number."""

    items: list[TrialRecord]
    page: int
    page_size: int
    total: int


class BestJob(BaseModel):
    """The job that trains a study's best parameters."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    register_as: Name | None = None


class BestTrial(BaseModel):
    """The trial that the study's rule takes."""

    study_id: str
    best: dict[str, object]


class History(BaseModel):
    """How the best value developed."""

    study_id: str
    points: list[HistoryPoint]


class Front(BaseModel):
    """The Pareto front, by number."""

    study_id: str
    trials: list[TrialRecord]


class Importance(BaseModel):
    """Share of the result's variation that each parameter explains."""

    study_id: str
    importance: dict[str, float]


@router.get("/spaces")
def spaces(caller: CurrentPrincipal) -> dict[str, Space]:
    """The built-in search spaces."""
    return SPACES


@router.post("/studies/start", status_code=status.HTTP_202_ACCEPTED)
def start(
    request: Strict[StudyRequest],
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    idempotency_key: IdempotencyKey = None,
) -> StudyRecord:
    """Start a study, or resume the one of this name up to `n_trials` in all."""
    return platform.training.start_study(request, caller, idempotency_key)


@router.get("/studies")
def list_studies(
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    tenant_id: Annotated[Name | None, Query()] = None,
    page: Page = 1,
    page_size: PageSize = 50,
) -> StudyPage:
    """Studies of the caller's tenants."""
    found, total = platform.training.studies.page(caller, tenant_id=tenant_id, page=page, page_size=page_size)
    return StudyPage(items=found, page=page, page_size=page_size, total=total)


@router.get("/studies/{study_id}")
def read(study_id: StudyId, platform: CurrentPlatform, caller: CurrentPrincipal) -> StudyRecord:
    """One study."""
    return platform.training.studies.get(study_id, caller)


@router.delete("/studies/{study_id}")
def cancel(study_id: StudyId, platform: CurrentPlatform, caller: CurrentPrincipal) -> Job:
    """Stop a study: its job is cancelled, its trials stay and it can be resumed."""
    caller.require(PrincipalRole.SUBMITTER)
    training = platform.training
    study = training.studies.get(study_id, caller)
    if study.job_id is None:
        raise NotFound(f"study {study_id!r} has no job", field="study_id", remedy="start it again under its name")
    return training.jobs.cancel(study.job_id, caller)


@router.post("/studies/{study_id}/train", status_code=status.HTTP_202_ACCEPTED)
def train(
    study_id: StudyId,
    request: Strict[BestJob],
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Train the best parameters of a study on its data; 409 before it has any."""
    caller.require(PrincipalRole.SUBMITTER)
    return platform.training.train_best(
        study_id, caller, idempotency_key, name=request.name, register_as=request.register_as
    )


@router.get("/studies/{study_id}/trials")
def trials(
    study_id: StudyId, platform: CurrentPlatform, caller: CurrentPrincipal, page: Page = 1, page_size: PageSize = 50
) -> TrialPage:
    """The study's trials, each with its MLflow run."""
    found, total = platform.training.studies.trials(study_id, caller, page=page, page_size=page_size)
    return TrialPage(items=found, page=page, page_size=page_size, total=total)


@router.get("/studies/{study_id}/best")
def best(study_id: StudyId, platform: CurrentPlatform, caller: CurrentPrincipal) -> BestTrial:
    """The best trial; 404 while no job of the study has completed."""
    study = platform.training.studies.get(study_id, caller)
    if study.best is None:
        raise NotFound(
            f"study {study_id!r} has no result yet", field="study_id", remedy="wait until its job has completed"
        )
    return BestTrial(study_id=study.id, best=study.best)


@router.get("/studies/{study_id}/history")
def history(study_id: StudyId, platform: CurrentPlatform, caller: CurrentPrincipal) -> History:
    """The best value so far after each trial, by number; empty for several objectives."""
    training = platform.training
    study = training.studies.get(study_id, caller)
    return History(study_id=study.id, points=training.studies.history(study_id, caller))


@router.get("/studies/{study_id}/front")
def front(study_id: StudyId, platform: CurrentPlatform, caller: CurrentPrincipal) -> Front:
    """The trials that no other beats in every objective."""
    return Front(study_id=study_id, trials=platform.training.studies.front(study_id, caller))


@router.get(
    "/studies/{study_id}/report",
    response_class=HTMLResponse,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
)
def report(study_id: StudyId, platform: CurrentPlatform, caller: CurrentPrincipal) -> HTMLResponse:
    """History, importance, front and trials as one page that needs no network; 404 before its first trial."""
    return HTMLResponse(platform.training.study_page(study_id, caller))


@router.get("/studies/{study_id}/importance")
def importance(study_id: StudyId, platform: CurrentPlatform, caller: CurrentPrincipal) -> Importance:
    """Importance of the parameters; empty before four trials have completed."""
    study = platform.training.studies.get(study_id, caller)
    return Importance(study_id=study.id, importance=study.importance)
