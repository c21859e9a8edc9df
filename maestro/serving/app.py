"""The control application: admin, labels, metadata, OpenAPI. Inference runs below it, on the data port."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from maestro.observability.asgi import TraceRequests
from maestro.observability.tracing import tracing
from maestro.serving.protocols.admin import admin_routes
from maestro.serving.protocols.health import health_routes
from maestro.serving.protocols.metadata import metadata_routes
from maestro.serving.protocols.openapi import inference_paths
from maestro.serving.protocols.problems import handle_errors
from maestro.serving.protocols.repository import repository_routes
from maestro.serving.protocols.rewards import reward_routes
from maestro.serving.server import ModelServer


def create_app(server: ModelServer) -> FastAPI:
    """The ASGI application of a server that has been started."""
    app = FastAPI(title="Maestro model server", version=version("maestro-ml"), redoc_url=None)
    handle_errors(app)
    for routes in (health_routes, metadata_routes, repository_routes, admin_routes, reward_routes):
        app.include_router(routes(server))
    _document(app)
    if tracing():
        app.add_middleware(TraceRequests)
    return app


def _document(app: FastAPI) -> None:
    """Put the inference routes into the OpenAPI document."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        document["paths"] = inference_paths() | document["paths"]
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
