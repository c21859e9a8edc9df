"""Trace context by the W3C rules."""

from __future__ import annotations

import asyncio

import pytest

from maestro.observability.tracing import current_span, parse_traceparent, start_span, trace_id, traceparent

HEADER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_span_joins_the_callers_trace() -> None:
    with start_span("predict", parent=HEADER) as span:
        assert span.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
        assert span.parent_id == "00f067aa0ba902b7"
        assert span.span_id != span.parent_id
        sent = parse_traceparent(traceparent())
        assert sent is not None
        assert (sent.trace_id, sent.span_id, sent.sampled) == (span.trace_id, span.span_id, True)
    assert current_span() is None
    assert traceparent() is None


def test_spans_nest() -> None:
    with start_span("outer") as outer, start_span("inner") as inner:
        assert inner.trace_id == outer.trace_id
        assert inner.parent_id == outer.span_id
    with start_span("other") as other:
        assert other.trace_id != outer.trace_id
        assert other.parent_id is None


def test_the_callers_choice_not_to_sample_is_kept() -> None:
    with start_span("predict", parent=HEADER[:-2] + "00") as span:
        assert span.traceparent.endswith("-00")


@pytest.mark.parametrize(
    "header",
    [
        None, "", "rubbish", HEADER.upper(), HEADER[:-3], "ff" + HEADER[2:], HEADER + "-extra",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
    ],
)  # fmt: skip
def test_a_bad_header_begins_a_new_trace(header: str | None) -> None:
    assert parse_traceparent(header) is None
    with start_span("predict", parent=header) as span:
        assert span.parent_id is None
        assert span.trace_id.strip("0")


def test_a_later_version_may_have_more_fields() -> None:
    span = parse_traceparent("01" + HEADER[2:] + "-more")
    assert span is not None
    assert span.span_id == "00f067aa0ba902b7"


def test_tasks_do_not_see_each_others_spans() -> None:
    async def work(name: str) -> tuple[str, str | None]:
        with start_span(name) as span:
            await asyncio.sleep(0.001)
            return span.trace_id, trace_id()

    async def both() -> tuple[tuple[str, str | None], ...]:
        return await asyncio.gather(work("a"), work("b"))

    (first, seen_first), (second, seen_second) = asyncio.run(both())
    assert first == seen_first
    assert second == seen_second
    assert first != second
