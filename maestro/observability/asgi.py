"""What every HTTP service says about a request: a span that joins the caller's trace, and a count by route. Pure ASGI, no framework."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from maestro.observability.metrics import MetricSet
from maestro.observability.tracing import start_span

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

QUIET = frozenset({"/healthz", "/readyz", "/ping", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""Addresses that probes and scrapers ask: no spans of theirs."""


class TraceRequests:
    """ASGI middleware: each request is a server span, child of the caller's `traceparent`.

    Args:
        app: the application.
        metrics: where requests are counted by route, as `maestro_api_*`; None counts nothing.
    """

    def __init__(self, app: App, metrics: MetricSet | None = None) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on inside its span."""
        if scope["type"] != "http" or scope["path"] in QUIET:
            await self._app(scope, receive, send)
            return
        parent = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), None)
        status = 500
        began = time.perf_counter()

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        method = str(scope["method"])
        with start_span(method, parent=parent, kind="server") as span:
            try:
                await self._app(scope, receive, told)
            finally:
                route = _route(scope)
                span.attributes.update(
                    {"http.request.method": method, "http.route": route, "http.response.status_code": status}
                )
                if self._metrics is not None:
                    self._metrics.counter("maestro_api_requests_total").labels(method, route, str(status)).inc()
                    self._metrics.histogram("maestro_api_latency_seconds").labels(route).observe(
                        time.perf_counter() - began
                    )


def _route(scope: Scope) -> str:
    """The route's pattern, never the address itself: a label must not have a value for each job. `other` where no route fits."""
    return str(getattr(scope.get("route"), "path", "other"))
