"""Every error of the control routes as a problem document."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from maestro.core.errors import BadInput, MaestroError, Malformed
from maestro.serving.protocols.adapter import PROBLEM, problem_headers
from maestro.serving.protocols.documents import ProblemDocument

log = logging.getLogger(__name__)

_TITLES = {
    400: "Malformed input",
    401: "Not authenticated",
    403: "Refused",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Input too large",
    415: "Unsupported media type",
    422: "Bad input",
    429: "Too many requests",
    503: "Component unreachable",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses of these errors."""
    return {
        status: {
            "description": _TITLES[status],
            "content": {PROBLEM: {"schema": ProblemDocument.model_json_schema()}},
        }
        for status in statuses
    }


def answer(error: MaestroError, path: str) -> JSONResponse:
    """The response of an error; on the Open Inference routes with that protocol's own member beside the problem's."""
    headers = {name.decode(): value.decode() for name, value in problem_headers(error)}
    document = error.problem() | ({"error": error.detail} if path.startswith("/v2") else {})
    return JSONResponse(document, status_code=error.status, media_type=PROBLEM, headers=headers)


def handle_errors(app: FastAPI) -> None:
    """Install the handlers."""

    @app.exception_handler(MaestroError)
    async def expected(request: Request, error: MaestroError) -> JSONResponse:
        return answer(error, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        if first["type"] == "json_invalid":
            malformed = Malformed(f"the body is not JSON: {first['msg']}", remedy="send a JSON document")
            return answer(malformed, request.url.path)
        return answer(BadInput(f"{where}: {first['msg']}", field=where, remedy=f"correct {where}"), request.url.path)

    @app.exception_handler(HTTPException)
    async def routed(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # FastAPI's own answer to a body that it cannot parse
            return answer(Malformed("the body cannot be read", remedy="send a JSON document"), request.url.path)
        document = {
            "type": "about:blank",
            "title": _TITLES.get(error.status_code, "Error"),
            "status": error.status_code,
            "detail": f"{request.method} {request.url.path}: {error.detail}",
        }
        return JSONResponse(document, status_code=error.status_code, media_type=PROBLEM, headers=error.headers)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        log.exception("%s %s failed in a way that nobody foresaw", request.method, request.url.path, exc_info=error)
        return answer(MaestroError("the server failed", remedy="see the server's log"), request.url.path)
