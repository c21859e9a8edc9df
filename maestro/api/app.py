"""The control plane's application: every domain's routes over one platform."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from maestro import __version__
from maestro.api import problems, routes
from maestro.api.auth import KeyRequired
from maestro.api.bodies import BodyGuard
from maestro.api.methods import OwnMethods
from maestro.lifecycle.composition import Platform
from maestro.observability.asgi import TraceRequests


def create_app(platform: Platform) -> FastAPI:
    """The application over `platform`; its background work runs while the application does."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with platform.background():
            yield

    app = FastAPI(
        title="Maestro ML control plane", version=__version__, lifespan=lifespan, responses=problems.RESPONSES
    )
    app.state.platform = platform
    problems.install(app)
    for module in sorted(info.name for info in pkgutil.iter_modules(routes.__path__)):
        app.include_router(importlib.import_module(f"{routes.__name__}.{module}").router)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, routes=app.routes)
            components = document.setdefault("components", {}).setdefault("schemas", {})
            components["Problem"] = problems.Problem.model_json_schema()
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    exact = {
        path: frozenset(method.upper() for method in methods)
        for path, methods in openapi()["paths"].items()
        if "{" not in path
    }
    # the one added last is asked first: nobody's body is read before it is known whose it is
    app.add_middleware(BodyGuard, limit=platform.settings.api.max_body_bytes)
    app.add_middleware(OwnMethods, exact=exact)
    app.add_middleware(KeyRequired, platform=platform)
    app.add_middleware(TraceRequests, metrics=platform.metrics)
    return app
