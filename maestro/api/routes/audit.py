"""The audit log: read by operators and reviewers, verified on request."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.core.principals import PrincipalRole
from maestro.security.audit import AuditEntry, AuditReport
from maestro.security.trust import load_trust

router = APIRouter(prefix="/audit", tags=["audit"])

Text = Annotated[str, Field(max_length=512, pattern=r"^[\x20-\x7e]+$")]


class AuditFilter(BaseModel):
    """Which entries to read; `actor` matches whole, `action` and `subject` by their beginning."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(default=0, ge=0, le=2**53 - 1)
    limit: int = Field(default=100, ge=1, le=1000)
    actor: Text | None = None
    action: Text | None = None
    subject: Text | None = None


class AuditPage(BaseModel):
    """Entries in order; ask again with `after = next` for more, `next` is None at the end."""

    entries: tuple[AuditEntry, ...]
    next: int | None = None


class AuditVerification(BaseModel):
    """The verdict with the report it stands on."""

    ok: bool
    report: AuditReport


@router.get("")
def entries(which: Annotated[AuditFilter, Query()], platform: CurrentPlatform, caller: CurrentPrincipal) -> AuditPage:
    """Entries after entry `after`, in order."""
    caller.require(PrincipalRole.OPERATOR, PrincipalRole.APPROVER)
    found = platform.audit.entries(**which.model_dump())
    return AuditPage(entries=found, next=found[-1].seq if len(found) == which.limit else None)


@router.get("/verify")
def verify(platform: CurrentPlatform, caller: CurrentPrincipal) -> AuditVerification:
    """Check the whole chain and every signed head. `maestro audit verify` does the same without this service."""
    caller.require(PrincipalRole.OPERATOR, PrincipalRole.APPROVER)
    report = platform.audit.verify(load_trust(platform.settings.trust_policy or platform.home.trust_policy))
    return AuditVerification(ok=report.ok, report=report)
