"""Finished spans to an OpenTelemetry collector: OTLP over HTTP with protobuf bodies (https://opentelemetry.io/docs/specs/otlp/).

Work is never delayed by it: spans wait in a bounded queue, a thread sends them in batches, and what does not fit or cannot be sent is counted as lost.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from maestro.core.errors import Unreachable

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

log = logging.getLogger(__name__)

KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
"""Span kinds of the OpenTelemetry data model."""

_BATCH = 512
_WAITING = 8192
_EVERY_S = 1.0


@dataclass(frozen=True)
class FinishedSpan:
    """One span as it is sent. Ids are lower-case hex, times nanoseconds since 1970; `error` says what failed."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    error: str | None = None


class OtlpExporter:
    """Sends spans to `<endpoint>/v1/traces`. Thread-safe; `export` never blocks and never raises.

    Args:
        endpoint: the collector's base address, such as `http://otel-collector:4318`.
        resource: what these spans come from: `service.name`, `service.version`, ….
        headers: sent with each request, such as a credential of the collector.

    Raises:
        Unreachable: the package with the protocol's messages is not installed.
    """

    def __init__(self, endpoint: str, resource: Mapping[str, str], headers: Mapping[str, str] | None = None) -> None:
        try:
            import opentelemetry.proto.collector.trace.v1.trace_service_pb2 as _messages
        except ModuleNotFoundError:
            raise Unreachable(
                "traces were asked for and the package opentelemetry-proto is not installed",
                remedy="pip install 'maestro-ml[tracing]', or unset OTEL_EXPORTER_OTLP_ENDPOINT",
                component="OpenTelemetry",
            ) from None
        self._messages = _messages
        self._resource = dict(resource)
        path = "/v1/traces"
        self.url = endpoint if endpoint.endswith(path) else endpoint.rstrip("/") + path
        self._client = httpx.Client(
            timeout=5.0, trust_env=False, headers={"Content-Type": "application/x-protobuf", **(headers or {})}
        )
        self._waiting: deque[FinishedSpan] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ended = False
        self.sent = self.lost = 0
        self._thread = threading.Thread(target=self._work, name="otlp", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def export(self, span: FinishedSpan) -> None:
        """Queue one span; a full queue loses it."""
        with self._lock:
            if len(self._waiting) >= _WAITING:
                self.lost += 1
                return
            self._waiting.append(span)
            if len(self._waiting) >= _BATCH:
                self._wake.set()

    def flush(self) -> None:
        """Send what waits, now."""
        while batch := self._take():
            self._send(batch)

    def close(self) -> None:
        """Send what waits and end."""
        if self._ended:
            return
        self._ended = True
        self._wake.set()
        self._thread.join(timeout=10)
        self.flush()
        self._client.close()
        atexit.unregister(self.close)

    def _work(self) -> None:
        while not self._ended:
            self._wake.wait(_EVERY_S)
            self._wake.clear()
            self.flush()

    def _take(self) -> list[FinishedSpan]:
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]

    def _send(self, batch: Sequence[FinishedSpan]) -> None:
        body = self._request(batch).SerializeToString()
        try:
            response = self._client.post(self.url, content=body)
            response.raise_for_status()
            self.sent += len(batch)
        except httpx.HTTPError as error:
            if not self.lost:
                log.warning("spans cannot be sent to %s: %s", self.url, str(error) or type(error).__name__)
            self.lost += len(batch)

    def _request(self, batch: Sequence[FinishedSpan]) -> Any:
        request = self._messages.ExportTraceServiceRequest()
        group = request.resource_spans.add()
        _attributes(group.resource.attributes, self._resource)
        scope = group.scope_spans.add()
        scope.scope.name = "maestro"
        for span in batch:
            _fill(scope.spans.add(), span)
        return request


def _fill(message: ProtoSpan, span: FinishedSpan) -> None:
    message.trace_id = bytes.fromhex(span.trace_id)
    message.span_id = bytes.fromhex(span.span_id)
    if span.parent_id:
        message.parent_span_id = bytes.fromhex(span.parent_id)
    message.name = span.name
    message.kind = KINDS[span.kind]  # type: ignore[assignment]  # the enum's numbers
    message.start_time_unix_nano = span.start_ns
    message.end_time_unix_nano = span.end_ns
    _attributes(message.attributes, span.attributes)
    if span.error is not None:
        message.status.code = 2  # type: ignore[assignment]  # STATUS_CODE_ERROR
        message.status.message = span.error


def _attributes(into: Any, values: Mapping[str, str | int | float | bool]) -> None:
    for key, value in values.items():
        entry = into.add()
        entry.key = key
        # bool before int: every bool is an int
        if isinstance(value, bool):
            entry.value.bool_value = value
        elif isinstance(value, int):
            entry.value.int_value = value
        elif isinstance(value, float):
            entry.value.double_value = value
        else:
            entry.value.string_value = value
