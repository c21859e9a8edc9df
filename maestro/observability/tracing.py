"""Trace context by W3C Trace Context (https://www.w3.org/TR/trace-context/), carried by a context variable.

A service adopts the caller's `traceparent`, opens a span for its own work, and sends `traceparent()` on. Log lines and outbox events carry the trace id.
Spans go to an OpenTelemetry collector where `OTEL_EXPORTER_OTLP_ENDPOINT` names one (`trace_exporting`); elsewhere they end here.
"""

from __future__ import annotations

import random
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from maestro.clients.otlp import FinishedSpan

_TRACEPARENT = re.compile(r"^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")


@dataclass(frozen=True)
class Span:
    """One piece of work in a trace. `trace_id` is 32 and `span_id` 16 lower-case hex digits, neither all zero."""

    trace_id: str
    span_id: str
    sampled: bool = True
    parent_id: str | None = None
    name: str = ""
    kind: str = "internal"
    started_ns: int = field(default=0, compare=False)
    attributes: dict[str, str | int | float | bool] = field(default_factory=dict, compare=False)

    @property
    def traceparent(self) -> str:
        """The header by which the next service joins the trace."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


_current: ContextVar[Span | None] = ContextVar("maestro_span", default=None)


def parse_traceparent(header: str | None) -> Span | None:
    """The caller's span, or None when the header is absent or not valid: a bad header starts a new trace, it is no error.

    >>> parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").span_id
    '00f067aa0ba902b7'
    >>> parse_traceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01") is None
    True
    """
    match = _TRACEPARENT.match(header.strip()) if header else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    # Version ff is forbidden, and version 00 has exactly four fields; later versions may have more.
    if version == "ff" or (version == "00" and rest) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Span(trace_id, span_id, sampled=bool(int(flags, 16) & 1))


def current_span() -> Span | None:
    """The span that the present task or thread works in."""
    return _current.get()


def trace_id() -> str | None:
    """The present trace id."""
    span = _current.get()
    return span.trace_id if span else None


def traceparent() -> str | None:
    """The header to send with a call, or None outside of any span."""
    span = _current.get()
    return span.traceparent if span else None


Sink = Callable[[FinishedSpan], None]
"""Where finished spans go; it neither blocks nor raises."""

_sink: list[Sink] = []


def send_spans_to(sink: Sink | None) -> None:
    """Give every sampled span that ends in this process to `sink`; None gives them to nobody."""
    _sink[:] = [] if sink is None else [sink]


def tracing() -> bool:
    """Whether anybody takes this process's spans."""
    return bool(_sink)


@dataclass
class Sampling:
    """Which traces are told (https://opentelemetry.io/docs/specs/otel/trace/sdk/#sampling).

    Args:
        ratio: of the traces that begin here.
        by_parent: a caller that has decided for its trace is followed; otherwise the ratio holds for its traces too.
    """

    ratio: float = 1.0
    by_parent: bool = True

    def of(self, above: Span | None) -> bool:
        """Whether a trace is told, given the span that work is a child of."""
        if above is not None and self.by_parent:
            return above.sampled
        return self.ratio >= 1.0 or random.random() < self.ratio  # noqa: S311 - no secret


sampling = Sampling()
"""Of this process."""


def open_span(
    name: str,
    *,
    parent: str | None = None,
    kind: str = "internal",
    attributes: dict[str, str | int | float | bool] | None = None,
    sampled: bool | None = None,
) -> Span:
    """A span for work that no block encloses; `end_span` ends it.

    Args:
        name: what the work is, such as `predict`.
        parent: a `traceparent` header; without a valid one the span is a child of the present span, or begins a trace.
        kind: internal, server, client, producer or consumer.
        attributes: what is known of it so far; more may be put into the span's own.
        sampled: where that has been decided; else as a local parent, or by this process's sampling.
    """
    remote, local = parse_traceparent(parent), _current.get()
    above = remote or local
    if sampled is None:
        sampled = local.sampled if local is not None and remote is None else sampling.of(remote)
    return Span(
        trace_id=above.trace_id if above else _identifier(16),
        span_id=_identifier(8),
        sampled=sampled,
        parent_id=above.span_id if above else None,
        name=name,
        kind=kind,
        started_ns=time.time_ns(),
        attributes=dict(attributes or {}),
    )


def end_span(span: Span, error: BaseException | str | None = None) -> None:
    """End a span and give it to whoever takes spans, when it is sampled."""
    if not _sink or not span.sampled:
        return
    told = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
    _sink[0](
        FinishedSpan(
            trace_id=span.trace_id, span_id=span.span_id, parent_id=span.parent_id, name=span.name, kind=span.kind,
            start_ns=span.started_ns, end_ns=time.time_ns(), attributes=span.attributes, error=told,
        )
    )  # fmt: skip


@contextmanager
def start_span(
    name: str,
    *,
    parent: str | None = None,
    kind: str = "internal",
    attributes: dict[str, str | int | float | bool] | None = None,
    sampled: bool | None = None,
) -> Iterator[Span]:
    """Work in a new span for as long as the block lasts; what the block raises is told with it. Arguments as of `open_span`."""
    with within(open_span(name, parent=parent, kind=kind, attributes=attributes, sampled=sampled)) as span:
        yield span


@contextmanager
def within(span: Span) -> Iterator[Span]:
    """Work in an open span, and end it; what the block raises is told with it."""
    token = _current.set(span)
    failure: BaseException | None = None
    try:
        yield span
    except Exception as error:
        failure = error
        raise
    finally:
        _current.reset(token)
        end_span(span, failure)


def _identifier(size: int) -> str:
    while not (value := secrets.token_hex(size)).strip("0"):
        continue
    return value
