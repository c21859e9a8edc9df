"""Lineage: what was made from what, as JSON, text, picture, or OpenLineage events."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.api.bodies import Strict
from maestro.core.model import Name
from maestro.core.principals import PrincipalRole
from maestro.governance.lineage import LineageGraph
from maestro.governance.lineage.drawing import html, svg
from maestro.governance.lineage.tree import tree

router = APIRouter(prefix="/lineage", tags=["lineage"])

RunText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
RunId = Annotated[RunText, Path(description="the MLflow run")]


class Track(BaseModel):
    """What to record; everything that is not recorded yet when no run is named."""

    model_config = ConfigDict(extra="forbid")

    run_id: RunText | None = None


class Tracked(BaseModel):
    """What was recorded now."""

    recorded: list[str]


@router.post("/track")
def track(body: Strict[Track], platform: CurrentPlatform, caller: CurrentPrincipal) -> Tracked:
    """Record lineage that events have not brought yet. Repeating it changes nothing."""
    caller.require(PrincipalRole.SUBMITTER)
    lineage = platform.governance.lineage
    if body.run_id is not None:
        lineage.require(body.run_id)
        lineage.publish(body.run_id)
        recorded = [body.run_id]
    else:
        recorded = lineage.track()
    platform.audit.record(
        actor=caller.actor,
        action="lineage.tracked",
        subject=f"lineage/{body.run_id or 'all'}",
        data={"recorded": recorded},
    )
    return Tracked(recorded=recorded)


@router.get("/runs/{run_id}")
def of_run(run_id: RunId, platform: CurrentPlatform, caller: CurrentPrincipal) -> LineageGraph:
    """The lineage around a run: data, features, run, version, deployments."""
    caller.require(PrincipalRole.VIEWER)
    return platform.governance.lineage.require(run_id)


@router.get("/runs/{run_id}/events")
def events(run_id: RunId, platform: CurrentPlatform, caller: CurrentPrincipal) -> list[dict[str, Any]]:
    """The OpenLineage events of a run."""
    caller.require(PrincipalRole.VIEWER)
    lineage = platform.governance.lineage
    lineage.require(run_id)
    return lineage.events(run_id)


@router.get(
    "/runs/{run_id}/view",
    response_class=Response,
    responses={200: {"content": {"text/html": {}, "image/svg+xml": {}, "text/plain": {}}}},
)
def view(
    run_id: RunId,
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    form: Annotated[Literal["html", "svg", "tree"], Query()] = "html",
) -> Response:
    """The lineage of a run to look at."""
    caller.require(PrincipalRole.VIEWER)
    graph = platform.governance.lineage.require(run_id)
    if form == "tree":
        return PlainTextResponse(tree(graph) + "\n")
    if form == "svg":
        return Response(svg(graph), media_type="image/svg+xml")
    return HTMLResponse(html(graph, f"Lineage of run {run_id}"))


@router.get("/models/{model}")
def of_model(
    model: Annotated[Name, Path(description="the registered model")],
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
) -> LineageGraph:
    """The full history of a model: every version with what it was made from and where it went."""
    caller.require(PrincipalRole.VIEWER)
    return platform.governance.lineage.graph(model=model)
