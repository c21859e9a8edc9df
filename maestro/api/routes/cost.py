"""What everything cost."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.api.paging import Page, PageNumber, PageSize, page_of
from maestro.core.errors import Refused
from maestro.core.model import Name
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.rates import load_rates
from maestro.operations.cost import CostEntry, CostLedger, cost_report

router = APIRouter(prefix="/cost", tags=["cost"])

Kind = Annotated[str | None, Query(pattern=r"^[a-z]{1,32}$")]


class CostReport(BaseModel):
    """Sums in whole micro-dollars; every breakdown adds up to the bill, which is used + idle."""

    model_config = ConfigDict(extra="allow")

    at: str
    bill_usd_micros: int
    used_usd_micros: int
    idle_usd_micros: int
    by_kind: list[dict[str, Any]]


@router.get("/report")
def report(
    platform: CurrentPlatform, caller: CurrentPrincipal, tenant: Annotated[Name | None, Query()] = None
) -> CostReport:
    """The bill by kind, run, version and tenant."""
    return CostReport(**cost_report(platform.database, load_rates(), platform.clock, tenant_id=_tenant(caller, tenant)))


@router.get("/entries")
def list_entries(
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    tenant: Annotated[Name | None, Query()] = None,
    kind: Kind = None,
    page: PageNumber = 1,
    page_size: PageSize = 50,
) -> Page[CostEntry]:
    """A page of the ledger, oldest first."""
    tenant = _tenant(caller, tenant)
    ledger = CostLedger(platform.database)
    with platform.database.read() as connection:
        items = ledger.entries(connection, kind=kind, tenant_id=tenant, page=page, page_size=page_size)
        total = ledger.count(connection, kind=kind, tenant_id=tenant)
    return page_of((items, total), page, page_size)


def _tenant(caller: Principal, tenant: str | None) -> str | None:
    """The tenant whose cost the caller asks for and may see; a principal of one tenant sees that one."""
    caller.require(PrincipalRole.VIEWER)
    if tenant is None and len(caller.tenants) == 1:
        return caller.tenants[0]
    if (tenant is None and caller.tenants) or (tenant is not None and not caller.may_see(tenant)):
        raise Refused(
            f"{caller.actor} may see the cost of {', '.join(caller.tenants)} only",
            field="tenant",
            remedy="name one of these tenants",
        )
    return tenant
