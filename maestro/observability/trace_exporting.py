"""Whether and where this process sends its spans, by OpenTelemetry's own variables (https://opentelemetry.io/docs/specs/otel/protocol/exporter/).

`OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`), `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`,
`OTEL_SDK_DISABLED`, and for the share of traces `OTEL_TRACES_SAMPLER` with `OTEL_TRACES_SAMPLER_ARG`. The protocol is `http/protobuf`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote

from maestro.clients.otlp import OtlpExporter
from maestro.core.errors import BadInput, Unreachable
from maestro.observability.tracing import sampling, send_spans_to

log = logging.getLogger(__name__)


@contextmanager
def trace_exporting(
    service: str, version: str, environment: Mapping[str, str] | None = None, *, ratio: float = 1.0
) -> Iterator[OtlpExporter | None]:
    """Send the spans of this process for as long as the block lasts; None where no collector is named, or the protocol's messages are not installed.

    Args:
        service: `service.name`, such as `maestro-api`; `OTEL_SERVICE_NAME` overrides it.
        version: `service.version`.
        environment: the variables; the process's own by default.
        ratio: of the traces that begin here, where no variable says otherwise.

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
    told_sampling = _sampling(variables, ratio)
    try:
        exporter = OtlpExporter(endpoint, {"service.version": version, **told, "service.name": name}, headers)
    except Unreachable as error:
        # a service without traces is worth more than no service
        log.warning("no traces are sent: %s; %s", error.detail, error.remedy)
        yield None
        return
    sampling.ratio, sampling.by_parent = told_sampling
    send_spans_to(exporter.export)
    try:
        yield exporter
    finally:
        send_spans_to(None)
        sampling.ratio, sampling.by_parent = 1.0, True
        exporter.close()


_SAMPLERS = ("always_on", "always_off", "traceidratio")


def _sampling(variables: Mapping[str, str], ratio: float) -> tuple[float, bool]:
    """The share of traces, and whether a caller's decision is followed."""
    name = variables.get("OTEL_TRACES_SAMPLER", "")
    if not name:
        return ratio, True
    kind = name.removeprefix("parentbased_")
    if kind not in _SAMPLERS:
        raise BadInput(
            f"OTEL_TRACES_SAMPLER {name!r} is unknown",
            field="OTEL_TRACES_SAMPLER",
            remedy=f"name one of {', '.join(_SAMPLERS)}, with or without parentbased_ before it",
        )
    text = variables.get("OTEL_TRACES_SAMPLER_ARG", "1")
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise BadInput(
            f"OTEL_TRACES_SAMPLER_ARG {text!r} is no share",
            field="OTEL_TRACES_SAMPLER_ARG",
            remedy="write a number from 0 to 1",
        )
    return {"always_on": 1.0, "always_off": 0.0, "traceidratio": share}[kind], kind != name


def _pairs(text: str, variable: str) -> dict[str, str]:
    """`a=1,b=2`, percent-encoded values."""
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, sign, value = part.partition("=")
        if not sign or not key.strip():
            raise BadInput(f"{variable}: {part!r} is no key=value", field=variable, remedy="write key=value,key=value")
        pairs[key.strip()] = unquote(value.strip())
    return pairs
