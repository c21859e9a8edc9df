"""What is no inference: health, metrics, metadata, the graph, the evidence, labels. FastAPI answers, but for what probes ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import msgspec

from maestro import __version__

if TYPE_CHECKING:
    from maestro.serving.server import ModelServer

_encode = msgspec.json.Encoder().encode


class ControlRequest(msgspec.Struct, array_like=True):
    """A request as it came."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class ControlAnswer(msgspec.Struct, array_like=True):
    """Its answer."""

    status: int
    media_type: bytes
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Control(Protocol):
    """Answers control requests. Obligations: never raises for what a caller does; may be awaited many times at once."""

    async def answer(self, request: ControlRequest) -> ControlAnswer:
        """Answer."""
        ...


class LocalControl:
    """The control routes of a server in this process. FastAPI is imported with the first request that needs it, in a thread: probes,
    metrics and inference do not wait for it.
    """

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._app: Any = None
        self._importing = asyncio.Lock()
        self._probes: dict[str, Callable[[], ControlAnswer]] = {
            "/healthz": self._healthz,
            "/v2/health/live": lambda: self._ready(always=True),
            "/v2/health/ready": lambda: self._ready(always=False),
            "/ping": lambda: self._ready(always=False),
            "/health": lambda: self._ready(always=False),
            "/version": lambda: ControlAnswer(200, b"text/plain; charset=utf-8", __version__.encode()),
            "/metrics": self._metrics,
        }

    async def answer(self, request: ControlRequest) -> ControlAnswer:
        """A probe at once, anything else from FastAPI."""
        if request.method == "GET":
            probe = self._probes.get(request.path)
            if probe is not None:
                return probe()
        if self._app is None:
            async with self._importing:
                if self._app is None:
                    self._app = await asyncio.to_thread(_application, self._server)
        return await through(self._app, request)

    def _healthz(self) -> ControlAnswer:
        return ControlAnswer(200, b"application/json", _encode(self._server.health()))

    def _ready(self, *, always: bool) -> ControlAnswer:
        document = ({"live": True} if always else {}) | self._server.readiness()
        return ControlAnswer(200 if document["ready"] or always else 503, b"application/json", _encode(document))

    def _metrics(self) -> ControlAnswer:
        return ControlAnswer(200, b"text/plain; version=0.0.4; charset=utf-8", self._server.metrics.text())


def _application(server: ModelServer) -> Any:
    from maestro.serving.app import create_app

    return create_app(server)


async def through(app: Any, request: ControlRequest) -> ControlAnswer:
    """Ask an ASGI application."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": quote(request.path).encode("ascii"),
        "query_string": request.query.encode("ascii"),
        "root_path": "",
        "headers": list(request.headers),
        "server": None,
        "client": None,
        "state": {},
    }
    sent = [{"type": "http.request", "body": request.body, "more_body": False}]
    over = asyncio.Event()
    status, media_type, headers, parts = 500, b"application/json", [], []

    async def receive() -> dict[str, Any]:
        if sent:
            return sent.pop()
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, media_type
        if message["type"] == "http.response.start":
            status = message["status"]
            for name, value in message["headers"]:
                if name == b"content-type":
                    media_type = value
                elif name not in (b"content-length", b"connection", b"date", b"transfer-encoding"):
                    headers.append((name, value))
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                over.set()

    await app(scope, receive, send)
    return ControlAnswer(status, media_type, b"".join(parts), tuple(headers))
