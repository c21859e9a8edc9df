"""Requests are spans and counts by route, whatever becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from maestro.clients.otlp import FinishedSpan
from maestro.observability.asgi import TraceRequests
from maestro.observability.metrics import MetricSet
from maestro.observability.tracing import send_spans_to, trace_id

HEADER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def spans() -> Iterator[list[FinishedSpan]]:
    found: list[FinishedSpan] = []
    send_spans_to(found.append)
    yield found
    send_spans_to(None)


@pytest.fixture
def metrics() -> MetricSet:
    return MetricSet(process=False)


@pytest.fixture
def client(metrics: MetricSet) -> TestClient:
    app = FastAPI()

    @app.get("/jobs/{job}")
    def job(job: str) -> dict[str, str | None]:
        if job == "broken":
            raise RuntimeError("broken")
        return {"trace": trace_id()}

    @app.get("/healthz")
    def healthz() -> None: ...

    app.add_middleware(TraceRequests, metrics=metrics)
    return TestClient(app, raise_server_exceptions=False)


def test_a_request_joins_the_callers_trace_under_its_route(
    client: TestClient, metrics: MetricSet, spans: list[FinishedSpan]
) -> None:
    assert client.get("/jobs/1", headers={"traceparent": HEADER}).json() == {"trace": HEADER[3:35]}
    client.get("/jobs/2")
    first, second = spans
    assert (first.trace_id, first.parent_id, first.kind) == (HEADER[3:35], HEADER[36:52], "server")
    assert second.parent_id is None
    assert first.attributes == {
        "http.request.method": "GET", "http.route": "/jobs/{job}", "http.response.status_code": 200,
    }  # fmt: skip
    text = metrics.exposition().decode()
    assert 'maestro_api_requests_total{method="GET",route="/jobs/{job}",status="200"} 2.0' in text
    assert 'maestro_api_latency_seconds_count{route="/jobs/{job}"} 2.0' in text


def test_what_fails_or_fits_no_route_is_counted_and_probes_are_not(
    client: TestClient, metrics: MetricSet, spans: list[FinishedSpan]
) -> None:
    assert client.get("/jobs/broken").status_code == 500
    assert client.get("/nowhere/17").status_code == 404
    client.get("/healthz")
    assert [span.attributes["http.response.status_code"] for span in spans] == [500, 404]
    assert spans[0].error == "RuntimeError: broken"
    text = metrics.exposition().decode()
    assert 'route="/jobs/{job}",status="500"} 1.0' in text
    assert 'route="other",status="404"} 1.0' in text
    assert "healthz" not in text


def test_what_is_no_request_passes_through() -> None:
    seen: list[str] = []

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append("lifespan")

    async def nothing(*_: object) -> dict[str, object]:
        return {}

    asyncio.run(TraceRequests(app)({"type": "lifespan"}, nothing, nothing))  # type: ignore[arg-type]  # an application of one line
    assert seen == ["lifespan"]
