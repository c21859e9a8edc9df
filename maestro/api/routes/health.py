"""Liveness and readiness of the control plane."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from maestro import __version__
from maestro.api.auth import CurrentPlatform

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """What is running and whether its database answers."""

    status: str
    version: str
    database: str


@router.get("/healthz")
def live() -> Health:
    """The process answers."""
    return Health(status="ok", version=__version__, database="not asked")


@router.get("/readyz")
def ready(platform: CurrentPlatform) -> Health:
    """The database answers and stands at the revision this code needs; 503 with the reason otherwise."""
    platform.require_database()
    return Health(status="ok", version=__version__, database="ok")
