"""One trace through three processes: the API takes a job, the worker runs it, its child trains; and a request through router and model server."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from maestro.clients.home import Home
from maestro.core.clock import SystemClock
from maestro.core.settings import Settings
from maestro.lifecycle.bootstrap import prepare
from maestro.lifecycle.processes import start, stop
from maestro.lifecycle.services import free_port
from maestro.serving.sample import write_sample
from tests.observability.collector import Collector, collecting

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADER = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def run(stack: ExitStack, home: Path, collector: Collector, name: str, *words: str, **more: str) -> Path:
    """A service in a process of its own; gives its log."""
    log = home / "logs" / f"{name}.log"
    env = {**os.environ, "MAESTRO_HOME": str(home), "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **more}
    process = start([sys.executable, "-m", *words], log=log, env=env)
    stack.callback(stop, process)
    return log


def wait(url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=1, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


@pytest.mark.e2e
@pytest.mark.shows("J4", "J5", "J6", "J7", env="laptop")
def test_a_job_is_one_trace_from_the_api_over_the_worker_to_its_child(
    tmp_path: Path, collector: Collector, processes: ExitStack
) -> None:
    home = Home(tmp_path / "home")
    prepare(home, Settings(home=home.root)).close()
    port = free_port()
    api = run(processes, home.root, collector, "api", "maestro.api", "--port", str(port))
    mlflow = f"sqlite:///{tmp_path / 'mlflow.db'}"
    worker = run(processes, home.root, collector, "worker", "maestro", "service", "worker", MAESTRO_MLFLOW_URL=mlflow)
    wait(f"http://127.0.0.1:{port}/readyz", api)
    token = (home.keys / "user.token").read_text().strip()
    key = {"Authorization": f"Bearer {token}", "traceparent": HEADER}
    # there are no such features: the attempt fails, and its failure is in the same trace
    job = {
        "name": "churn", "model_type": "classifier", "max_retries": 0,
        "data": {"feature_service": "file", "entities": str(tmp_path / "none.parquet"), "target": "y"},
    }  # fmt: skip
    answer = httpx.post(f"http://127.0.0.1:{port}/ai/training/jobs/start", json=job, headers=key, trust_env=False)
    assert answer.status_code in {200, 201, 202}, answer.text
    spans = collector.wait("maestro-api", "maestro-worker", "maestro-training", trace=TRACE, timeout_s=90)
    by_service = {each.service: each for each in spans}
    asked, attempt, train = (by_service[f"maestro-{name}"].span for name in ("api", "worker", "training"))
    assert asked.parent_span_id.hex() == "00f067aa0ba902b7"
    assert attempt.parent_span_id == asked.span_id
    assert train.parent_span_id == attempt.span_id
    assert by_service["maestro-api"].attribute("http.route") == "/ai/training/jobs/start"
    assert by_service["maestro-worker"].attribute("maestro.job") == answer.json()["id"]
    started = [line for line in lines(worker) if str(line["message"]).startswith("started")]
    assert [line["trace"] for line in started] == [TRACE], "the log of the worker carries it"


@pytest.mark.shows("J4", "J7", env="laptop")
def test_a_request_is_one_trace_through_the_router_to_the_model_server(
    tmp_path: Path, collector: Collector, processes: ExitStack
) -> None:
    model, router = Home(tmp_path / "model"), Home(tmp_path / "router")
    write_sample(model, SystemClock(), model.trust_policy)
    write_sample(router, SystemClock(), router.trust_policy)
    ports = free_port(), free_port()
    graph = f"""
apiVersion: maestro/v1
kind: InferenceGraph
metadata: {{name: sample, revision: 1}}
root: a
nodes:
  a: {{type: remote, url: "http://127.0.0.1:{ports[0]}/v2/models/sample", timeout_ms: 5000}}
"""
    router.graph("sample").write_text(graph)
    for home, port, name in ((model, ports[0], "model"), (router, ports[1], "router")):
        words = ("maestro.serving.main", "--port", str(port))
        more = {"MAESTRO_SERVING__AUTH": "network", "OTEL_SERVICE_NAME": name}
        log = run(processes, home.root, collector, name, *words, **more)
        wait(f"http://127.0.0.1:{port}/v2/health/ready", log)
    answer = httpx.post(
        f"http://127.0.0.1:{ports[1]}/predict", json={"instances": [[1, 2, 3, 4, 5]]}, headers={"traceparent": HEADER},
        trust_env=False, timeout=10,
    )  # fmt: skip
    assert answer.json() == {"predictions": [14.5]}, answer.text
    spans = {each.service: each.span for each in collector.wait("router", "model", trace=TRACE)}
    assert spans["router"].parent_span_id.hex() == "00f067aa0ba902b7"
    assert spans["model"].parent_span_id == spans["router"].span_id
