"""Principals and their keys, for operators. People give keys out: no agent or service makes itself a colleague who approves."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, status
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.api.bodies import Strict
from maestro.core.errors import Refused
from maestro.core.model import Name
from maestro.core.principals import Principal, PrincipalRole
from maestro.security.principals import PrincipalKey, PrincipalRecord

router = APIRouter(tags=["principals"])


def _number_only(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("write a whole number")
    return value


class NewPrincipal(BaseModel):
    """A principal to create."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    kind: Literal["human", "service", "agent"]
    roles: tuple[PrincipalRole, ...] = ()
    tenants: tuple[Name, ...] = ()


class NewKey(BaseModel):
    """A key to mint; it does not expire when no time is given."""

    model_config = ConfigDict(extra="forbid")

    expires_in_s: Annotated[int, Field(ge=1, le=100 * 366 * 86400), BeforeValidator(_number_only)] | None = Field(
        default=None, description="seconds from now"
    )


class MintedKey(BaseModel):
    """The key, told once."""

    principal: str
    key_id: str
    token: str


class KeyFilter(BaseModel):
    """Which keys to list."""

    model_config = ConfigDict(extra="forbid")

    principal: Name | None = Field(default=None, description="only this principal's")


PrincipalName = Annotated[Name, Path(description="the principal")]


@router.get("/whoami")
def whoami(caller: CurrentPrincipal) -> Principal:
    """The caller, as their key says."""
    return caller


@router.get("/principals")
def principals(platform: CurrentPlatform, caller: CurrentPrincipal) -> tuple[PrincipalRecord, ...]:
    """Every principal."""
    caller.require(PrincipalRole.OPERATOR)
    return platform.principals.list()


@router.post("/principals", status_code=status.HTTP_201_CREATED)
def create(body: Strict[NewPrincipal], platform: CurrentPlatform, caller: CurrentPrincipal) -> Principal:
    """Create a principal; one that exists just so is answered as it is."""
    _require_person(caller)
    return platform.principals.create(
        Principal(name=body.name, kind=body.kind, roles=body.roles, tenants=body.tenants), actor=caller.actor
    )


@router.post("/principals/{name}/keys", status_code=status.HTTP_201_CREATED)
def mint(name: PrincipalName, body: Strict[NewKey], platform: CurrentPlatform, caller: CurrentPrincipal) -> MintedKey:
    """Mint a key of a principal. The answer is the only place where it can be read."""
    _require_person(caller)
    expires = None if body.expires_in_s is None else platform.clock.now() + timedelta(seconds=body.expires_in_s)
    token = platform.principals.mint_key(name, expires, actor=caller.actor)
    return MintedKey(principal=name, key_id=token.split("_")[1], token=token)


@router.post("/principals/{name}/disable", status_code=status.HTTP_204_NO_CONTENT)
def disable(name: PrincipalName, platform: CurrentPlatform, caller: CurrentPrincipal) -> None:
    """Refuse every key of a principal from now on."""
    caller.require(PrincipalRole.OPERATOR)
    platform.principals.set_disabled(name, True, actor=caller.actor)


@router.post("/principals/{name}/enable", status_code=status.HTTP_204_NO_CONTENT)
def enable(name: PrincipalName, platform: CurrentPlatform, caller: CurrentPrincipal) -> None:
    """Accept the keys of a disabled principal again."""
    _require_person(caller)
    platform.principals.set_disabled(name, False, actor=caller.actor)


@router.get("/keys")
def keys(
    which: Annotated[KeyFilter, Query()], platform: CurrentPlatform, caller: CurrentPrincipal
) -> tuple[PrincipalKey, ...]:
    """Every key, without its secret."""
    caller.require(PrincipalRole.OPERATOR)
    return platform.principals.keys(which.principal)


@router.delete("/keys/{key_id}", status_code=status.HTTP_204_NO_CONTENT)
def revoke(
    key_id: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")], platform: CurrentPlatform, caller: CurrentPrincipal
) -> None:
    """Refuse a key from now on. An operator may revoke any, everybody their own."""
    if key_id not in {key.key_id for key in platform.principals.keys(caller.name)}:
        caller.require(PrincipalRole.OPERATOR)
    platform.principals.revoke_key(key_id, actor=caller.actor)


def _require_person(caller: Principal) -> None:
    caller.require(PrincipalRole.OPERATOR)
    if caller.kind != "human":
        raise Refused(f"{caller.actor} may not give out keys", remedy="ask a person who is an operator")
