"""Liveness, readiness and metrics: `/healthz`, `/ping`, `/health`, `/version`, `/v2/health/*`, `/metrics`. The data port gives the same answers without FastAPI."""

from __future__ import annotations

from fastapi import APIRouter, Response

from maestro import __version__
from maestro.serving.protocols.documents import HealthDocument, LiveDocument, ReadyDocument
from maestro.serving.server import ModelServer


def health_routes(server: ModelServer) -> APIRouter:
    """The routes; none needs a key."""
    router = APIRouter(tags=["health"])

    def ready() -> ReadyDocument:
        return ReadyDocument(**server.readiness())

    @router.get("/healthz")
    async def healthz() -> HealthDocument:
        """Whether the process works, and what it serves."""
        return HealthDocument(**server.health())

    @router.get("/v2/health/live")
    async def live() -> LiveDocument:
        """200 while the process works."""
        return LiveDocument(**server.readiness())

    @router.get("/v2/health/ready", responses={503: {"model": ReadyDocument, "description": "not ready"}})
    async def ready_route(response: Response) -> ReadyDocument:
        """200 when every graph that lies there has a served revision."""
        document = ready()
        response.status_code = 200 if document.ready else 503
        return document

    @router.get("/ping", responses={503: {"model": ReadyDocument, "description": "not ready"}})
    async def ping(response: Response) -> ReadyDocument:
        """MLflow's readiness."""
        return await ready_route(response)

    @router.get("/health", responses={503: {"model": ReadyDocument, "description": "not ready"}})
    async def health(response: Response) -> ReadyDocument:
        """The same, by MLflow's other name."""
        return await ready_route(response)

    @router.get(
        "/version",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Version"}},
    )
    async def version() -> Response:
        """The version of this server, where MLflow's client asks for one."""
        return Response(__version__, media_type="text/plain; charset=utf-8")

    @router.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus exposition"}
        },
    )
    async def metrics() -> Response:
        """The server's counters."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router
