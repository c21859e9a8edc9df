"""An OTLP/HTTP endpoint as collectors have it: decodes what is posted to /v1/traces with the protocol's own messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Received:
    """One span with the service that sent it."""

    service: str
    span: Span

    @property
    def trace(self) -> str:
        return self.span.trace_id.hex()

    def attribute(self, name: str) -> object:
        for entry in self.span.attributes:
            if entry.key == name:
                return getattr(entry.value, str(entry.value.WhichOneof("value")))
        return None


@dataclass
class Collector:
    """What arrived, in order."""

    url: str = ""
    spans: list[Received] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: int = 200

    def wait(self, *services: str, trace: str | None = None, timeout_s: float = 20.0) -> list[Received]:
        """The spans (of one trace), once each service has sent one of them."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = [each for each in self.spans if trace is None or each.trace == trace]
            if set(services) <= {each.service for each in found}:
                return found
            time.sleep(0.05)
        seen = [(each.service, each.span.name, each.trace) for each in self.spans]
        raise AssertionError(f"no spans of {services} in trace {trace}; there are {seen}")


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on this machine."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = ExportTraceServiceResponse().SerializeToString()
            if self.path == "/v1/traces" and collector.status == 200:
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    told = {entry.key: entry.value.string_value for entry in group.resource.attributes}
                    for scope in group.scope_spans:
                        collector.spans += [Received(told["service.name"], span) for span in scope.spans]
            self.send_response(collector.status if self.path == "/v1/traces" else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
