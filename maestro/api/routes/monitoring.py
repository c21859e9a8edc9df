"""Drift reports, and what models answer in production."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.api.paging import Page, PageNumber, PageSize, page_of
from maestro.core.model import Name
from maestro.core.principals import PrincipalRole
from maestro.monitoring.drift.store import DriftReport, DriftStore
from maestro.monitoring.predictions import ModelHealth, watch

router = APIRouter(prefix="/monitoring", tags=["monitoring"])


@router.get("/drift")
def list_drift_reports(
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    dataset: Annotated[Name | None, Query()] = None,
    verdict: Annotated[Literal["drift", "no_drift"] | None, Query()] = None,
    page: PageNumber = 1,
    page_size: PageSize = 50,
) -> Page[DriftReport]:
    """A page of drift reports without their tables, newest first."""
    caller.require(PrincipalRole.VIEWER)
    found = DriftStore(platform.database).list(dataset=dataset, verdict=verdict, page=page, page_size=page_size)
    return page_of(found, page, page_size)


@router.get("/drift/{report_id}")
def show_drift_report(
    report_id: Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")], platform: CurrentPlatform, caller: CurrentPrincipal
) -> DriftReport:
    """One drift report with the verdict of each column."""
    caller.require(PrincipalRole.VIEWER)
    return DriftStore(platform.database).get(report_id)


@router.get("/models/{model}")
def show_model_health(model: Name, platform: CurrentPlatform, caller: CurrentPrincipal) -> ModelHealth:
    """Requests, errors and latency of each arm since the model server began."""
    caller.require(PrincipalRole.VIEWER)
    return watch(model, None, platform.governance.sources(model).read(model, 0.0))
