"""Rollouts: planned, started, followed, resumed, aborted; and the instant rollback."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.api.bodies import Strict
from maestro.api.paging import Page, PageNumber, PageSize, page_of
from maestro.core.decision import DecisionRecord
from maestro.core.errors import Conflict
from maestro.core.model import Name
from maestro.core.policy import RolloutPolicy
from maestro.core.principals import PrincipalRole
from maestro.decisions.rollout import Prediction, TrafficRates
from maestro.governance.rollouts import Rollout, RolloutStatus
from maestro.governance.rollouts.controller import plan
from maestro.governance.rollouts.rollback import RolledBack, instant_rollback, record_rollback
from maestro.lifecycle.composition import Platform
from maestro.security.trust import load_trust

router = APIRouter(prefix="/rollouts", tags=["rollouts"])

RolloutId = Annotated[str, Path(pattern=r"^[A-Za-z0-9-]{1,64}$", description="the rollout")]
VersionText = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,62}$")]
Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Rates = dict[Name, Rate | tuple[Rate, Rate]]


class Plan(BaseModel):
    """A policy with the traffic and the rates of bad events that are assumed: one for both arms, or champion's and challenger's."""

    model_config = ConfigDict(extra="forbid")

    policy: RolloutPolicy
    rates: Rates
    traffic: TrafficRates


class NewRollout(BaseModel):
    """A version to roll out; with rates and traffic each reason shows the predicted sample beside it."""

    model_config = ConfigDict(extra="forbid")

    model: Name
    version: VersionText
    policy: RolloutPolicy
    strategy: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_-]{0,31}$")] | None = None
    rates: Rates | None = None
    traffic: TrafficRates | None = None
    target: Literal["laptop", "kubernetes"] | None = Field(
        default=None, description="refused where this control plane moves traffic elsewhere"
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> NewRollout:
        if (self.rates is None) != (self.traffic is None):
            raise ValueError("give rates and traffic together")
        return self


class Reason(BaseModel):
    """Why."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=4000, pattern=r"^[^\x00]*$")


class Rollback(BaseModel):
    """What to go back to; by default a running rollout's champion, else the version promoted before."""

    model_config = ConfigDict(extra="forbid")

    model: Name
    to: VersionText | None = None


class RolloutView(BaseModel):
    """A rollout with its latest decision."""

    rollout: Rollout
    decision: DecisionRecord | None = None


@router.post("/plan")
def predicted(body: Strict[Plan], caller: CurrentPrincipal) -> Prediction:
    """The predicted sample by rung, under the named alternative."""
    caller.require(PrincipalRole.VIEWER)
    return plan(body.policy, body.rates, body.traffic)


@router.post("/rollback")
def rollback(body: Strict[Rollback], platform: CurrentPlatform, caller: CurrentPrincipal) -> RolledBack:
    """Give all traffic at once to a version that was promoted before. The command does the same without this service."""
    governance = platform.governance
    target = governance.targets(body.model)
    done = instant_rollback(
        target,
        platform.home.versions,
        load_trust(governance.trust),
        body.model,
        principal=caller,
        at=platform.clock.now(),
        to=body.to,
    )
    return record_rollback(platform.database, governance.decisions, platform.clock, done, caller, target.read())


@router.post("", status_code=201)
def start(body: Strict[NewRollout], platform: CurrentPlatform, caller: CurrentPrincipal) -> RolloutView:
    """Check every gate, then roll out in the background."""
    caller.require(PrincipalRole.OPERATOR)
    if body.target not in (None, platform.settings.target):
        raise Conflict(
            f"this control plane moves traffic on target {platform.settings.target}, not {body.target}",
            field="target",
            remedy="ask the control plane of that target (MAESTRO_API_URL), or set MAESTRO_TARGET for this one",
        )
    governance = platform.governance
    rollout = governance.rollouts.start(
        caller,
        governance.versions.get(body.model, body.version),
        body.policy,
        body.strategy,
        rates=body.rates,
        traffic=body.traffic,
    )
    return _view(platform, rollout)


@router.get("")
def list_rollouts(
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    model: Annotated[Name | None, Query()] = None,
    status: Annotated[RolloutStatus | None, Query()] = None,
    page: PageNumber = 1,
    page_size: PageSize = 50,
) -> Page[Rollout]:
    """A page of rollouts, newest first."""
    caller.require(PrincipalRole.VIEWER)
    found = platform.governance.rollout_store.list(model=model, status=status, page=page, page_size=page_size)
    return page_of(found, page, page_size)


@router.get("/{rollout_id}")
def show(rollout_id: RolloutId, platform: CurrentPlatform, caller: CurrentPrincipal) -> RolloutView:
    """One rollout and the decision that brought it where it is."""
    caller.require(PrincipalRole.VIEWER)
    return _view(platform, platform.governance.rollout_store.get(rollout_id))


@router.post("/{rollout_id}/abort")
def abort(
    rollout_id: RolloutId, body: Strict[Reason], platform: CurrentPlatform, caller: CurrentPrincipal
) -> RolloutView:
    """Go back to the champion."""
    return _view(platform, platform.governance.rollouts.abort(caller, rollout_id, body.reason))


@router.post("/{rollout_id}/resume")
def resume(rollout_id: RolloutId, platform: CurrentPlatform, caller: CurrentPrincipal) -> RolloutView:
    """Lift a freeze."""
    return _view(platform, platform.governance.rollouts.resume(caller, rollout_id))


def _view(platform: Platform, rollout: Rollout) -> RolloutView:
    decision = platform.governance.decisions.get(rollout.last_decision) if rollout.last_decision else None
    return RolloutView(rollout=rollout, decision=decision)
