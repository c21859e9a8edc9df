"""Prometheus as a source: the suite of every source on a real Prometheus that scrapes a real model server, and replicas that restart."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest

from maestro.clients.prometheus import PrometheusClient
from maestro.core.clock import ManualClock, SystemClock
from maestro.core.errors import BadInput, NotFound, Unreachable
from maestro.core.principals import PrincipalRole
from maestro.core.seams import Reading
from maestro.serving.metric_source import ServerMetricSource
from maestro.serving.prometheus_source import PrometheusMetricSource
from maestro.serving.sources import metric_source
from tests.serving.conftest import ENTITY, Serve, Trained, Workshop, free_port, node, split
from tests.serving.test_metric_source import MetricSourceSuite, Traffic

CONFIG = """
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs:
  - job_name: model-server
    file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]
"""


class Scraper:
    """A real Prometheus in a folder."""

    def __init__(self, folder: Path, binary: str) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "prometheus.yml").write_text(CONFIG)
        self.target(None)
        self._process = subprocess.Popen(
            [binary, "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{self.port}", "--storage.tsdb.path=data", "--log.level=error"],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/-/ready", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("Prometheus did not start")

    def target(self, url: str | None) -> None:
        targets = [] if url is None else [url.removeprefix("http://")]
        new = self.folder / "targets.new"
        new.write_text(f'[{{"targets": {str(targets).replace(chr(39), chr(34))}}}]')
        new.replace(self.folder / "targets.json")

    def scraped(self, after: float) -> None:
        """Return when the server was scraped after a time."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = PrometheusClient(self.url).newest('maestro_graph_revision{model="m"}', 5)
            if found and min(series.at for series in found) > after:
                return
            time.sleep(0.05)
        raise AssertionError("the server was not scraped")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)


@pytest.fixture(scope="module")
def scraper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraper]:
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is not on PATH (see the toolchain)")
    found = Scraper(tmp_path_factory.mktemp("prometheus"), binary)
    yield found
    found.stop()


class Fresh:
    """Reads when Prometheus has seen what was done before."""

    def __init__(self, scraper: Scraper) -> None:
        self._scraper = scraper
        self._source = PrometheusMetricSource(PrometheusClient(scraper.url), max_age_s=2.0)
        self.down = False

    def read(self, model: str, label_wait_s: float) -> Reading:
        if not self.down:
            self._scraper.scraped(time.time())
        else:
            time.sleep(2.5)
        return self._source.read(model, label_wait_s)


class TestPrometheus(MetricSourceSuite):
    counts_units = False

    @pytest.fixture
    def traffic(self, workshop: Workshop, trained: Trained, serve: Serve, scraper: Scraper) -> Iterator[Traffic]:
        key = workshop.key(PrincipalRole.SUBMITTER)
        a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
        b = workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract, statement="authorisation")
        workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 5000)}, "ab")
        process = serve()
        scraper.target(process.url)
        source = Fresh(scraper)
        running = [process]

        def send(entity: int) -> None:
            body = {"instances": [[12, 15, 80, 500]], "entities": [{ENTITY: entity}]}
            answer = httpx.post(
                f"{running[-1].url}/predict", json=body, headers={"Authorization": f"Bearer {key}"}, trust_env=False
            )
            assert answer.status_code == 200, answer.text

        def restart() -> None:
            running[-1].stop()
            running.append(serve())
            scraper.target(running[-1].url)
            time.sleep(2.5)

        def take_down() -> None:
            source.down = True
            running[-1].stop()
            scraper.target(None)

        yield Traffic(source, send, lambda entity: None, restart, take_down)
        scraper.target(None)

    @pytest.mark.shows("J1", "I10", env="laptop")
    @pytest.mark.door
    def test_counters_are_raw_cumulative_integers_of_each_arm(self, traffic: Traffic) -> None:
        super().test_counters_are_raw_cumulative_integers_of_each_arm(traffic)

    def test_a_source_that_is_down_is_unreachable_never_zero(self, traffic: Traffic) -> None:
        traffic.take_down()
        with pytest.raises((Unreachable, NotFound)):
            traffic.source.read("m", 0.0)


@contextmanager
def scripted(*looks: dict[str, tuple[int, int]], at: float) -> Iterator[PrometheusClient]:
    """A server that answers as Prometheus does: for each look, pod to the revision and the count that it showed when it was scraped."""
    look = -1

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal look
            query = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["query"][0]
            name = query.partition("{")[0]
            look += name == "maestro_graph_revision"
            result = []
            for pod, (revision, count) in looks[look].items():
                labels = {"__name__": name, "arm": "a", "model": "m", "pod": pod, "version": "1.0.0"}
                if name == "maestro_graph_revision":
                    result.append({"metric": labels, "values": [[at, str(revision)]]})
                elif name == "maestro_inference_requests_total":
                    result.append({"metric": labels | {"outcome": "ok"}, "values": [[at - 15, "0"], [at, str(count)]]})
            body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield PrometheusClient(f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def counts(*looks: dict[str, tuple[int, int]]) -> list[tuple[int, bool]]:
    """(requests, whether the epoch is another) of each look."""
    clock = ManualClock()
    with scripted(*looks, at=clock.now().timestamp()) as client:
        source = PrometheusMetricSource(client, clock=clock)
        readings = [source.read("m", 0.0) for _ in looks]
    epochs = [reading.epoch for reading in readings]
    return [
        (reading.arms["a"].requests["ok"], number > 0 and epochs[number] != epochs[number - 1])
        for number, reading in enumerate(readings)
    ]


def test_one_replica_of_three_that_restarts_is_not_counted_twice() -> None:
    before, after = {"x": (1, 100), "y": (1, 200), "z": (1, 50)}, {"x": (1, 110), "y": (1, 7), "z": (1, 53)}
    assert counts(before, after) == [(350, False), (10 + 7 + 3, True)]


def test_replicas_come_and_go() -> None:
    assert counts({"x": (1, 10)}, {"x": (1, 15), "y": (1, 4)}, {"y": (1, 9)}, {"y": (1, 12)}) == [
        (10, False), (19, False), (5, True), (8, False),
    ]  # fmt: skip


def test_servers_that_disagree_and_samples_that_are_old_are_no_evidence() -> None:
    clock = ManualClock()
    at = clock.now().timestamp()
    late = ManualClock(clock.now() + timedelta(minutes=5))
    with scripted({"x": (1, 1), "y": (2, 1)}, at=at) as client, pytest.raises(Unreachable, match=r"revisions \[1, 2\]"):
        PrometheusMetricSource(client, clock=clock).read("m", 0.0)
    with scripted({"x": (1, 1)}, at=at) as client, pytest.raises(Unreachable, match="s old"):
        PrometheusMetricSource(client, clock=late).read("m", 0.0)
    with scripted({}, at=at) as client, pytest.raises(NotFound):
        PrometheusMetricSource(client, clock=clock).read("m", 0.0)


def test_a_source_is_chosen_by_name() -> None:
    assert isinstance(metric_source("server", server_url="http://x", token="t"), ServerMetricSource)
    found = metric_source("prometheus", server_url="http://x", token="t", prometheus_url="http://p")
    assert isinstance(found, PrometheusMetricSource)
    with pytest.raises(BadInput, match="no address"):
        metric_source("prometheus", server_url="http://x", token="t")
    with pytest.raises(BadInput) as caught:
        metric_source("guess", server_url="http://x", token="t")
    assert "server, prometheus" in caught.value.remedy


def test_nobody_there_is_unreachable_and_nonsense_is_named(scraper: Scraper) -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        PrometheusMetricSource(PrometheusClient("http://127.0.0.1:9"), clock=SystemClock()).read("m", 0.0)
    with pytest.raises(BadInput, match="refuses"):
        PrometheusClient(scraper.url).newest("a{", 5)
