"""Whether and where this process sends its spans, by OpenTelemetry's own variables (https://opentelemetry.io/docs/specs/otel/protocol/exporter/).

`OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`), `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`,
`OTEL_SDK_DISABLED`. The protocol is `http/protobuf`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote

from maestro.clients.otlp import OtlpExporter
from maestro.core.errors import BadInput, Unreachable
from maestro.observability.tracing import send_spans_to

log = logging.getLogger(__name__)


@contextmanager
def trace_exporting(
    service: str, version: str, environment: Mapping[str, str] | None = None
) -> Iterator[OtlpExporter | None]:
    """Send the spans of this process for as long as the block lasts; None where no collector is named, or the protocol's messages are not installed.

    Args:
        service: `service.name`, such as `maestro-api`; `OTEL_SERVICE_NAME` overrides it.
        version: `service.version`.
        environment: the variables; the process's own by default.

    Raises:
        BadInput: a variable cannot be read.
    """
    variables = os.environ if environment is None else environment
    endpoint = variables.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or variables.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not endpoint or variables.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield None
        return
    if not endpoint.startswith(("http://", "https://")):
        raise BadInput(
            f"OTEL_EXPORTER_OTLP_ENDPOINT {endpoint!r} is no http address",
            field="OTEL_EXPORTER_OTLP_ENDPOINT",
            remedy="write http://HOST:4318",
        )
    told = _pairs(variables.get("OTEL_RESOURCE_ATTRIBUTES", ""), "OTEL_RESOURCE_ATTRIBUTES")
    name = variables.get("OTEL_SERVICE_NAME") or told.get("service.name") or service
    headers = _pairs(variables.get("OTEL_EXPORTER_OTLP_HEADERS", ""), "OTEL_EXPORTER_OTLP_HEADERS")
    try:
        exporter = OtlpExporter(endpoint, {"service.version": version, **told, "service.name": name}, headers)
    except Unreachable as error:
        # a service without traces is worth more than no service
        log.warning("no traces are sent: %s; %s", error.detail, error.remedy)
        yield None
        return
    send_spans_to(exporter.export)
    try:
        yield exporter
    finally:
        send_spans_to(None)
        exporter.close()


def _pairs(text: str, variable: str) -> dict[str, str]:
    """`a=1,b=2`, percent-encoded values."""
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, sign, value = part.partition("=")
        if not sign or not key.strip():
            raise BadInput(f"{variable}: {part!r} is no key=value", field=variable, remedy="write key=value,key=value")
        pairs[key.strip()] = unquote(value.strip())
    return pairs
