"""The log of decisions, and their replay."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.api.bodies import Strict
from maestro.api.paging import Page, PageNumber, PageSize, page_of
from maestro.core.decision import DecisionRecord
from maestro.core.model import Name
from maestro.core.principals import PrincipalRole
from maestro.governance.decisions import ReplayReport, replay_all

router = APIRouter(prefix="/decisions", tags=["decisions"])

VersionText = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,62}$")]
DecisionText = Annotated[str, StringConstraints(pattern=r"^(sha256:)?[0-9a-f]{4,64}$")]
DecisionId = Annotated[DecisionText, Path(description="the record's id, or its first digits")]


class ReplayRequest(BaseModel):
    """Which records to replay: those named, those of a rollout, or the whole chain."""

    model_config = ConfigDict(extra="forbid")

    ids: list[DecisionText] = Field(default_factory=list, max_length=1000)
    rollout: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")] | None = None


class Replayed(BaseModel):
    """What replaying gave."""

    ok: bool
    count: int
    reports: list[ReplayReport]


@router.get("")
def list_decisions(
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    model: Annotated[Name | None, Query()] = None,
    version: Annotated[VersionText | None, Query()] = None,
    rollout: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9-]{1,64}$")] = None,
    kind: Annotated[str | None, Query(pattern=r"^[a-z._]{1,64}$")] = None,
    page: PageNumber = 1,
    page_size: PageSize = 50,
) -> Page[DecisionRecord]:
    """A page of records, newest first."""
    caller.require(PrincipalRole.VIEWER)
    found = platform.governance.decisions.list(
        model=model, version=version, rollout_id=rollout, kind=kind, page=page, page_size=page_size
    )
    return page_of(found, page, page_size)


@router.get("/{decision_id}")
def show(decision_id: DecisionId, platform: CurrentPlatform, caller: CurrentPrincipal) -> DecisionRecord:
    """One record."""
    caller.require(PrincipalRole.VIEWER)
    return platform.governance.decisions.find(decision_id)


@router.post("/replay")
def replay(body: Strict[ReplayRequest], platform: CurrentPlatform, caller: CurrentPrincipal) -> Replayed:
    """Compute decisions again from their records. `ok` is false when one does not come out as it stands."""
    caller.require(PrincipalRole.VIEWER)
    store = platform.governance.decisions
    records = None
    if body.rollout is not None:
        records = store.of_rollout(body.rollout)
    elif body.ids:
        records = [store.find(decision_id) for decision_id in body.ids]
    reports = replay_all(store, platform.governance.replayers, records)
    return Replayed(ok=all(report.ok for report in reports), count=len(reports), reports=reports)
