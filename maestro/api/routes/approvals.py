"""Approvals: submitted by one, answered by another."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.api.bodies import Strict
from maestro.api.paging import Page, PageNumber, PageSize, page_of
from maestro.core.model import Name
from maestro.core.policy import RolloutPolicy
from maestro.core.principals import PrincipalRole
from maestro.governance.approval import Approval, ApprovalStatus

router = APIRouter(prefix="/approvals", tags=["approvals"])

ApprovalId = Annotated[str, Path(pattern=r"^[A-Za-z0-9-]{1,64}$", description="the request")]
VersionText = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,62}$")]


class Submission(BaseModel):
    """A version with the policy by which it is to be rolled out."""

    model_config = ConfigDict(extra="forbid")

    model: Name
    version: VersionText
    policy: RolloutPolicy


class Answer(BaseModel):
    """What a reviewer says."""

    model_config = ConfigDict(extra="forbid")

    comment: str = Field(default="", max_length=4000, pattern=r"^[^\x00]*$")


@router.post("", status_code=201)
def submit(body: Strict[Submission], platform: CurrentPlatform, caller: CurrentPrincipal) -> Approval:
    """Run the automated gates and ask for approval. The answer's `status` is `gates_failed` when one did not pass."""
    caller.require(PrincipalRole.SUBMITTER, PrincipalRole.OPERATOR)
    governance = platform.governance
    return governance.approvals.submit(caller, governance.versions.get(body.model, body.version), body.policy)


@router.get("")
def list_approvals(
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    model: Annotated[Name | None, Query()] = None,
    version: Annotated[VersionText | None, Query()] = None,
    status: Annotated[ApprovalStatus | None, Query()] = None,
    page: PageNumber = 1,
    page_size: PageSize = 50,
) -> Page[Approval]:
    """A page of requests, newest first."""
    caller.require(PrincipalRole.VIEWER)
    found = platform.governance.approvals.store.list(
        model=model, version=version, status=status, page=page, page_size=page_size
    )
    return page_of(found, page, page_size)


@router.get("/{approval_id}")
def show(approval_id: ApprovalId, platform: CurrentPlatform, caller: CurrentPrincipal) -> Approval:
    """One request with its evidence."""
    caller.require(PrincipalRole.VIEWER)
    return platform.governance.approvals.store.get(approval_id)


@router.post("/{approval_id}/approve")
def approve(
    approval_id: ApprovalId, body: Strict[Answer], platform: CurrentPlatform, caller: CurrentPrincipal
) -> Approval:
    """Say yes: only a person with the role approver, who had no part in the version."""
    return platform.governance.approvals.approve(caller, approval_id, body.comment)


@router.post("/{approval_id}/refuse")
def refuse(
    approval_id: ApprovalId, body: Strict[Answer], platform: CurrentPlatform, caller: CurrentPrincipal
) -> Approval:
    """Say no."""
    return platform.governance.approvals.refuse(caller, approval_id, body.comment)
