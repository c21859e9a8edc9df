"""A model server's `/metrics`, as the real exporter writes them, over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from maestro.observability.metrics import MetricSet


class MetricsServer:
    """Counts answers and shows them at `/metrics`."""

    def __init__(self) -> None:
        self.metrics = MetricSet(process=False)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.metrics.exposition()
                self.send_response(200 if self.path == "/metrics" else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, count: int, *, status: int = 200, seconds: float = 0.02) -> None:
        """Count `count` answers to callers, and as many first attempts of the champion."""
        self.metrics.counter("maestro_responses_total").labels(status=str(status)).inc(count)
        latency = self.metrics.histogram("maestro_response_latency_seconds")
        arm = {"model": "m", "version": "1.0.0", "arm": "champion"}
        for _ in range(count):
            latency.observe(seconds)
            self.metrics.histogram("maestro_inference_latency_seconds").labels(**arm).observe(seconds)
        outcome = "error" if status >= 500 else "ok"
        self.metrics.counter("maestro_inference_requests_total").labels(**arm, outcome=outcome).inc(count)

    def restart(self) -> None:
        """Begin anew with empty counters."""
        self.metrics = MetricSet(process=False)

    def close(self) -> None:
        """Go away."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    made = MetricsServer()
    yield made
    made.close()
