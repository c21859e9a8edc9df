"""Every failure as an RFC 9457 problem document, documented on every route."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from maestro.core.errors import MaestroError

log = logging.getLogger(__name__)


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    remedy: str | None = None
    field: str | None = None


PROBLEM_STATUSES = (400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 503)

_TEXT = {"type": "string"}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"required": True, "description": "how to authenticate", "schema": _TEXT}},
    405: {"Allow": {"required": True, "description": "the methods of this address", "schema": _TEXT}},
    429: {"Retry-After": {"required": True, "description": "seconds", "schema": {"type": "integer"}}},
    503: {"Retry-After": {"required": True, "description": "seconds", "schema": {"type": "integer"}}},
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": "Problem",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        "headers": _HEADERS.get(status, {}),
    }
    for status in PROBLEM_STATUSES
}
"""What every route may answer beside success."""


_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


def problem_response(document: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    """A problem document as a response."""
    return JSONResponse(
        document, status_code=document["status"], media_type="application/problem+json", headers=headers
    )


def problem_of(error: MaestroError) -> JSONResponse:
    """An expected failure as a response, with the headers that its status asks for."""
    headers = {}
    if error.status in {429, 503}:
        headers["Retry-After"] = str(math.ceil(error.extra.get("retry_after", 5)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem_response(error.problem(), headers)


def method_not_allowed(request: Request, allow: str) -> JSONResponse:
    """405, with the methods that are allowed."""
    title = "Method Not Allowed"
    document = _titled(405, "method-not-allowed", title, f"{request.method} {request.url.path}: {title}")
    return problem_response(document | {"remedy": f"use {allow}"}, {"Allow": allow})


def allowed(routes: Iterable[BaseRoute], scope: Scope) -> str:
    """The methods of every route that fits an address; the framework itself names only those of the first."""
    found = list(routes)
    return ", ".join(
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in found)
    )


def _titled(status: int, slug: str, title: str, detail: str, **extra: Any) -> dict[str, Any]:
    return {"type": f"urn:maestro:problem:{slug}", "title": title, "status": status, "detail": detail, **extra}


def install(app: FastAPI) -> None:
    """Handle every exception of `app` as a problem document."""

    @app.exception_handler(MaestroError)
    async def _expected(request: Request, error: MaestroError) -> JSONResponse:
        return problem_of(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = []
        for item in error.errors():
            path = ".".join(str(part) for part in item["loc"] if part != "body") or "body"
            problems.append({"field": path, "message": str(item["msg"]).removeprefix("Value error, ")})
        broken = any(item["type"] == "json_invalid" for item in error.errors())
        status: Literal[400, 422] = 400 if broken else 422
        slug, title = ("malformed", "Malformed input") if broken else ("bad-input", "Bad input")
        first = problems[0]
        detail = "; ".join(f"{problem['field']}: {problem['message']}" for problem in problems[:5])
        return problem_response(
            _titled(
                status, slug, title, detail, field=first["field"], errors=problems, remedy=f"correct {first['field']}"
            )
        )

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 405:
            return method_not_allowed(request, allowed(request.app.router.routes, request.scope))
        slug = {404: "not-found"}.get(error.status_code, "http")
        document = _titled(
            error.status_code, slug, str(error.detail), f"{request.method} {request.url.path}: {error.detail}"
        )
        return problem_response(document, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> JSONResponse:
        log.exception("unexpected failure in %s %s", request.method, request.url.path)
        return problem_response(
            _titled(500, "internal", "Internal error", "a bug in Maestro", remedy="see the log of this service")
        )
