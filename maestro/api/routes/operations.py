"""The SLA report."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.core.principals import PrincipalRole
from maestro.operations.sla_monitor import SLAMonitor
from maestro.operations.slo import duration_seconds

router = APIRouter(prefix="/operations", tags=["operations"])


class SlaReport(BaseModel):
    """What was promised and recorded. `compliant` is true only when every objective is known to be met."""

    model_config = ConfigDict(extra="allow")

    at: str
    compliant: bool
    verdict: str
    objectives: list[dict[str, Any]]


@router.get("/sla")
def sla_report(
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    window: Annotated[str | None, Query(pattern=r"^[1-9]\d{0,2}[mhdw]$", description="such as 1h, 7d, 30d")] = None,
) -> SlaReport:
    """Availability, p95, p99, error rate and error budget from recorded roll-ups."""
    caller.require(PrincipalRole.VIEWER)
    monitor = SLAMonitor(platform.database, platform.settings.slo_file, clock=platform.clock)
    length = timedelta(seconds=duration_seconds(window)) if window else None
    return SlaReport(**monitor.generate_report(length, look=False))
