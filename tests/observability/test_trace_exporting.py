"""Spans reach an OTLP endpoint as OpenTelemetry's messages, and never delay or break the work that they tell of."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from maestro.clients.otlp import KINDS
from maestro.core.errors import BadInput
from maestro.observability.trace_exporting import trace_exporting
from maestro.observability.tracing import open_span, start_span, tracing
from tests.observability.collector import Collector, collecting


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.mark.shows("J4", "J7", env="laptop")
def test_spans_arrive_with_parents_kinds_attributes_and_failures(collector: Collector) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=a%20b",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
    }
    with trace_exporting("maestro-test", "1.0", environment) as exporter:
        assert tracing()
        with (
            start_span("outer", kind="server", attributes={"rows": 3, "warm": True, "share": 0.5}) as outer,
            pytest.raises(ValueError, match="no such row"),
            start_span("inner") as inner,
        ):
            raise ValueError("no such row")
    assert exporter is not None
    assert (exporter.sent, exporter.lost) == (2, 0)
    assert not tracing()
    first, second = (each.span for each in collector.wait("maestro-test"))
    assert (first.name, second.name) == ("inner", "outer")
    assert first.trace_id.hex() == second.trace_id.hex() == outer.trace_id
    assert first.parent_span_id.hex() == outer.span_id
    assert second.parent_span_id == b""
    assert (second.kind, first.kind) == (KINDS["server"], KINDS["internal"]) == (2, 1)
    assert first.span_id.hex() == inner.span_id
    assert (first.status.code, first.status.message) == (2, "ValueError: no such row")
    assert second.status.code == 0
    assert second.start_time_unix_nano <= first.start_time_unix_nano <= first.end_time_unix_nano
    sent = collector.spans[1]
    assert [sent.attribute(name) for name in ("rows", "warm", "share")] == [3, True, 0.5]
    assert collector.headers[0]["content-type"] == "application/x-protobuf"
    assert collector.headers[0]["x-tenant"] == "a b"


def test_a_caller_that_does_not_sample_is_heeded(collector: Collector) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    with trace_exporting("maestro-test", "1.0", environment) as exporter, start_span("x", parent=unsampled):
        pass
    assert exporter is not None
    assert exporter.sent == 0


@pytest.mark.parametrize(
    ("sampler", "share", "least", "most"),
    [
        ({}, 0.25, 150, 350),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, 0.25, 1000, 1000),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, 1.0, 0, 0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 1.0, 400, 600),
    ],
)
def test_so_many_of_the_traces_that_begin_here_are_told(
    sampler: dict[str, str], share: float, least: int, most: int
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} | sampler
    with trace_exporting("maestro-test", "1.0", environment, ratio=share):
        told = 0
        for _ in range(1000):
            root = open_span("x")
            assert root.sampled == open_span("y", parent=root.traceparent).sampled or sampler
            told += root.sampled
    assert least <= told <= most
    assert open_span("x").sampled


def test_a_caller_is_followed_where_the_sampler_says_so() -> None:
    caller = open_span("x", sampled=True).traceparent
    for name, told in (("parentbased_always_off", True), ("always_off", False)):
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_SAMPLER": name}
        with trace_exporting("maestro-test", "1.0", environment):
            assert open_span("y", parent=caller).sampled is told


@pytest.mark.parametrize(
    "environment", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}]
)
def test_without_a_collector_nothing_is_sent(environment: dict[str, str]) -> None:
    with trace_exporting("maestro-test", "1.0", environment) as exporter:
        assert exporter is None
        assert not tracing()


def test_a_collector_that_is_away_or_refuses_costs_the_spans_alone(collector: Collector) -> None:
    collector.status = 503
    for url in ("http://127.0.0.1:9", collector.url):
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
        with trace_exporting("maestro-test", "1.0", environment) as exporter, start_span("x"):
            pass
        assert exporter is not None
        assert (exporter.sent, exporter.lost) == (0, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a"),
        ("OTEL_TRACES_SAMPLER", "often"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} | {name: value}
    with pytest.raises(BadInput, match=name), trace_exporting("maestro-test", "1.0", environment):
        pass


@pytest.mark.parametrize("share", ["2", "-0.1", "some", "nan"])
def test_a_wrong_share_is_named(share: str) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_SAMPLER": "traceidratio"}
    with (
        pytest.raises(BadInput, match="OTEL_TRACES_SAMPLER_ARG"),
        trace_exporting("maestro-test", "1.0", environment | {"OTEL_TRACES_SAMPLER_ARG": share}),
    ):
        pass


def test_without_the_protocols_messages_a_service_runs_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # None there is how Python itself remembers a module that cannot be imported
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.trace.v1.trace_service_pb2", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.trace.v1", None)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with caplog.at_level("WARNING"), trace_exporting("maestro-test", "1.0", environment) as exporter:
        assert exporter is None
        assert not tracing()
    assert "opentelemetry-proto" in caplog.text
