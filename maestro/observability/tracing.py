"""Trace context by W3C Trace Context (https://www.w3.org/TR/trace-context/), carried by a context variable.

A service adopts the caller's `traceparent`, opens a span for its own work, and sends `traceparent()` on. Log lines and outbox events carry the trace id.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")


@dataclass(frozen=True)
class Span:
    """One piece of work in a trace. `trace_id` is 32 and `span_id` 16 lower-case hex digits, neither all zero."""

    trace_id: str
    span_id: str
    sampled: bool = True
    parent_id: str | None = None
    name: str = ""

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


@contextmanager
def start_span(name: str, *, parent: str | None = None) -> Iterator[Span]:
    """Work in a new span for as long as the block lasts.

    Args:
        name: what the work is, such as `predict`.
        parent: a `traceparent` header; without a valid one the span is a child of the present span, or begins a trace.
    """
    above = parse_traceparent(parent) or _current.get()
    span = Span(
        trace_id=above.trace_id if above else _identifier(16),
        span_id=_identifier(8),
        sampled=above.sampled if above else True,
        parent_id=above.span_id if above else None,
        name=name,
    )
    token = _current.set(span)
    try:
        yield span
    finally:
        _current.reset(token)


def _identifier(size: int) -> str:
    while not (value := secrets.token_hex(size)).strip("0"):
        continue
    return value
