"""Model versions: registered, listed, compared, moved through the stages."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import select

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.api.bodies import Strict
from maestro.api.paging import Page, PageNumber, PageSize, page_of
from maestro.clients.database.schema.training import ai_training_jobs
from maestro.core.model import Name
from maestro.core.principals import PrincipalRole
from maestro.governance.versions import ModelVersion, Registration, Stage
from maestro.governance.versions.archive import pack
from maestro.governance.versions.stages import Comparison, Promoted
from maestro.lifecycle.composition import Platform

router = APIRouter(prefix="/versions", tags=["versions"])

ModelName = Annotated[Name, Path(description="the registered model")]
VersionText = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,62}$")]
VersionName = Annotated[VersionText, Path(description="semantic version, or the registry's number")]


class NewVersion(BaseModel):
    """What to register: the model that a run logged."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: Name
    run_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    model_uri: str | None = Field(default=None, max_length=1024)


class Promotion(BaseModel):
    """Where to move a version."""

    model_config = ConfigDict(extra="forbid")

    to: Literal[Stage.STAGING, Stage.PRODUCTION]


class Aliases(BaseModel):
    """The registry's aliases of a model, each with the registry's version number."""

    aliases: dict[str, str]


@router.get("")
def list_versions(
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    model: Annotated[Name | None, Query()] = None,
    stage: Annotated[Stage | None, Query()] = None,
    page: PageNumber = 1,
    page_size: PageSize = 50,
) -> Page[ModelVersion]:
    """A page of versions, newest first."""
    caller.require(PrincipalRole.VIEWER)
    found = platform.governance.versions.list(model=model, stage=stage, page=page, page_size=page_size)
    return page_of(found, page, page_size)


@router.post("", status_code=201)
def register(body: Strict[NewVersion], platform: CurrentPlatform, caller: CurrentPrincipal) -> ModelVersion:
    """Register the model of a run. Registering a run again answers with the same version."""
    caller.require(PrincipalRole.SUBMITTER)
    governance = platform.governance
    run = governance.registry.run(body.run_id)
    job_id, started_by = _job_of(platform, body.run_id)
    registration = Registration(
        model=body.model,
        run_id=body.run_id,
        model_uri=body.model_uri,
        submitted_by=started_by or caller.actor,
        registered_by=caller.actor,
        job_id=job_id,
        metrics={name: value for name, value in run.metrics.items() if abs(value) < float("inf")},
        cost_usd_micros=_whole(run.tags.get("maestro.cost_usd_micros")),
    )
    return governance.registrar.register(registration)


@router.get("/{model}/promoted")
def rollback_list(model: ModelName, platform: CurrentPlatform, caller: CurrentPrincipal) -> list[Promoted]:
    """The versions that hold a valid promotion: what traffic may be rolled back to at once, the latest first."""
    caller.require(PrincipalRole.VIEWER)
    return platform.governance.stages.rollback_list(model)


@router.get("/{model}/aliases")
def aliases(model: ModelName, platform: CurrentPlatform, caller: CurrentPrincipal) -> Aliases:
    """The registry's aliases: a record, by which nothing is routed."""
    caller.require(PrincipalRole.VIEWER)
    return Aliases(aliases=platform.governance.registry.aliases(model))


@router.get("/{model}/{version}")
def show(model: ModelName, version: VersionName, platform: CurrentPlatform, caller: CurrentPrincipal) -> ModelVersion:
    """One version with its manifest and contract."""
    caller.require(PrincipalRole.VIEWER)
    return platform.governance.versions.get(model, version)


@router.get(
    "/{model}/{version}/archive",
    response_class=Response,
    responses={200: {"content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}}}},
)
def archive(model: ModelName, version: VersionName, platform: CurrentPlatform, caller: CurrentPrincipal) -> Response:
    """The version's files with its manifest and statements, as a model server takes them in: every digest is checked there."""
    caller.require(PrincipalRole.VIEWER)
    found = platform.governance.versions.get(model, version)
    return StreamingResponse(pack(platform.home.version(found.model, found.version)), media_type="application/x-tar")


@router.get("/{model}/{version}/compare/{other}")
def compare(
    model: ModelName,
    version: VersionName,
    other: Annotated[VersionText, Path(description="the version to compare with")],
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
) -> Comparison:
    """`other` against `version`: metrics, contract, files, cost."""
    caller.require(PrincipalRole.VIEWER)
    governance = platform.governance
    return governance.stages.compare(governance.versions.get(model, version), governance.versions.get(model, other))


@router.post("/{model}/{version}/promote")
def promote(
    model: ModelName, version: VersionName, body: Strict[Promotion], platform: CurrentPlatform, caller: CurrentPrincipal
) -> ModelVersion:
    """Record a version's stage. `production` needs the promotion statement that a rollout earns; traffic does not move here."""
    caller.require(PrincipalRole.OPERATOR)
    governance = platform.governance
    return governance.stages.promote(governance.versions.get(model, version), body.to, actor=caller.actor)


def _job_of(platform: Platform, run_id: str) -> tuple[str | None, str | None]:
    with platform.database.read() as connection:
        row = connection.execute(
            select(ai_training_jobs.c.id, ai_training_jobs.c.submitted_by).where(ai_training_jobs.c.run_id == run_id)
        ).first()
    return (None, None) if row is None else (str(row.id), str(row.submitted_by))


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isdigit() else 0
