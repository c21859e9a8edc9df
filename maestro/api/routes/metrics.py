"""The control plane's metrics, for whoever holds a key; a scraper asks the metrics port instead."""

from __future__ import annotations

from fastapi import APIRouter, Response

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.core.principals import PrincipalRole
from maestro.observability.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus exposition"}
    },
)
def metrics(platform: CurrentPlatform, caller: CurrentPrincipal) -> Response:
    """Jobs, trials, drift, rollouts, cost and what waits, in the Prometheus text format."""
    caller.require(PrincipalRole.VIEWER)
    return Response(platform.metrics.exposition(), media_type=CONTENT_TYPE)
