"""The doors of the model server: inference routes below FastAPI, control routes on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route

from maestro.observability.asgi import TraceRequests
from maestro.observability.tracing import tracing
from maestro.serving.protocols.admin import admin_routes
from maestro.serving.protocols.body_limit import BodyLimit
from maestro.serving.protocols.endpoint import Adapter, InferenceEndpoint
from maestro.serving.protocols.health import health_routes
from maestro.serving.protocols.metadata import metadata_routes
from maestro.serving.protocols.mlflow_invocations import InvocationsAdapter
from maestro.serving.protocols.open_inference import OpenInferenceAdapter
from maestro.serving.protocols.openapi import inference_paths
from maestro.serving.protocols.predict import PredictAdapter
from maestro.serving.protocols.problems import handle_errors
from maestro.serving.server import ModelServer

INFERENCE: tuple[tuple[str, type[Adapter]], ...] = (
    ("/predict", PredictAdapter),
    ("/invocations", InvocationsAdapter),
    ("/v2/models/{model}/infer", OpenInferenceAdapter),
    ("/v2/models/{model}/versions/{version}/infer", OpenInferenceAdapter),
)


def create_app(server: ModelServer) -> FastAPI:
    """The ASGI application; its lifespan starts and stops the server."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await server.start()
        try:
            yield
        finally:
            await server.stop()

    app = FastAPI(title="Maestro model server", version=version("maestro-ml"), lifespan=lifespan, redoc_url=None)
    handle_errors(app)
    limit = server.options.serving.max_body_bytes
    for path, adapter in reversed(INFERENCE):
        # An instance, not a function: Starlette then calls it as ASGI, without building requests and responses around it.
        endpoint = InferenceEndpoint(adapter(), server.plane, server.auth, limit)
        app.router.routes.insert(0, Route(path, endpoint, methods=["POST"], include_in_schema=False))
    for routes in (health_routes(server), metadata_routes(server), admin_routes(server)):
        app.include_router(routes)
    app.add_middleware(BodyLimit, limit=limit, paths=("/labels",))
    _document(app)
    # an answer takes microseconds: nothing stands before it where nobody takes spans
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
