"""What every source of a rollout's evidence owes, on a running model server."""

from __future__ import annotations

import http.server
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from maestro.core.clock import ManualClock, SystemClock
from maestro.core.errors import NotFound, Refused, Unreachable
from maestro.core.principals import PrincipalRole
from maestro.core.seams import MetricSource
from maestro.serving.metric_source import ServerMetricSource
from tests.serving.conftest import ENTITY, Client, Serve, Trained, Workshop, free_port, node, split


@dataclass
class Traffic:
    """A source that observes arms a (1.0.0) and b (1.1.0) of model m, and what makes its numbers move."""

    source: MetricSource
    send: Callable[[int], None]
    """A request about an entity."""
    label: Callable[[int], None]
    """Its label."""
    restart: Callable[[], None]
    """What counts starts again."""
    take_down: Callable[[], None]


class MetricSourceSuite(ABC):
    """What every source owes; a new one subclasses this and says where its traffic comes from."""

    @pytest.fixture
    @abstractmethod
    def traffic(self) -> Traffic:
        """No request has been sent yet."""

    def test_counters_are_raw_cumulative_integers_of_each_arm(self, traffic: Traffic) -> None:
        first = traffic.source.read("m", 0.0)
        assert {arm: reading.version for arm, reading in first.arms.items()} == {"a": "1.0.0", "b": "1.1.0"}
        assert all(sum(reading.requests.values()) == 0 for reading in first.arms.values())
        for entity in range(30):
            traffic.send(entity)
        second = traffic.source.read("m", 0.0)
        assert sum(reading.requests["ok"] for reading in second.arms.values()) == 30
        for reading in second.arms.values():
            counts = list(reading.latency.values())
            assert list(reading.latency)[-1] == "+Inf"
            assert counts == sorted(counts)
            assert counts[-1] == sum(reading.requests.values())
        assert second.epoch == first.epoch
        assert second.at >= first.at

    counts_units = True
    """Whether the source can tell distinct entities apart."""

    def test_entities_and_labels_are_counted_once(self, traffic: Traffic) -> None:
        if not self.counts_units:
            traffic.send(1)
            arms = traffic.source.read("m", 0.0).arms.values()
            assert {(one.exposed, one.eligible, one.labelled, one.wrong, one.entered) for one in arms} == {
                (0, 0, 0, 0, None)
            }
            return
        for entity in (1, 2, 3, 1, 2, 3):
            traffic.send(entity)
        for entity in (1, 2, 1):
            traffic.label(entity)
        arms = traffic.source.read("m", 0.0).arms.values()
        assert sum(reading.exposed for reading in arms) == 3
        assert sum(reading.eligible for reading in arms) == 3
        assert sum(reading.labelled for reading in arms) == 2
        waiting = traffic.source.read("m", 3600.0).arms.values()
        assert sum(reading.eligible for reading in waiting) == 0

    def test_a_reset_shows_as_a_new_epoch(self, traffic: Traffic) -> None:
        traffic.send(1)
        before = traffic.source.read("m", 0.0)
        traffic.restart()
        after = traffic.source.read("m", 0.0)
        assert after.epoch != before.epoch
        assert sum(sum(reading.requests.values()) for reading in after.arms.values()) == 0

    def test_a_source_that_is_down_is_unreachable_never_zero(self, traffic: Traffic) -> None:
        traffic.take_down()
        with pytest.raises(Unreachable):
            traffic.source.read("m", 0.0)


class TestServer(MetricSourceSuite):
    @pytest.fixture
    def header(self, workshop: Workshop) -> str:
        return workshop.key(PrincipalRole.SUBMITTER)

    @pytest.fixture
    def process(self, workshop: Workshop, trained: Trained, serve: Serve, header: str) -> Client:
        a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
        b = workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract, statement="authorisation")
        workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 5000)}, "ab")
        return serve()

    @pytest.fixture
    def traffic(self, process: Client, header: str, serve: Serve) -> Traffic:
        def post(path: str, body: object) -> None:
            response = httpx.post(
                f"{process.url}{path}", json=body, headers={"Authorization": f"Bearer {header}"}, trust_env=False
            )
            assert response.status_code == 200, response.text

        traffic = Traffic(
            ServerMetricSource(process.url, header),
            lambda entity: post("/predict", {"instances": [[12, 15, 80, 500]], "entities": [{ENTITY: entity}]}),
            lambda entity: post(
                "/labels", [{"model": "m", "entity": entity, "label": 1, "at": "2026-01-01T00:00:00Z"}]
            ),
            lambda: None,
            process.stop,
        )

        def restart() -> None:
            process.stop()
            traffic.source = ServerMetricSource(serve().url, header)

        traffic.restart = restart
        return traffic

    def test_an_answer_of_another_time_is_refused(self, process: Client, header: str) -> None:
        late = ManualClock(SystemClock().now() + timedelta(minutes=5))
        with pytest.raises(Unreachable, match="s old"):
            ServerMetricSource(process.url, header, clock=late).read("m", 0.0)

    def test_an_unknown_model_and_a_wrong_key_are_told_apart(self, process: Client, header: str) -> None:
        with pytest.raises(NotFound):
            ServerMetricSource(process.url, header).read("n", 0.0)
        with pytest.raises(Refused):
            ServerMetricSource(process.url, "mk_wrong").read("m", 0.0)


@pytest.fixture
def impostor() -> Iterator[str]:
    """A web server that is no model server."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "fine"}')

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_answer_that_is_no_reading_is_unreachable(impostor: str) -> None:
    with pytest.raises(Unreachable, match="no reading"):
        ServerMetricSource(impostor, "mk_x").read("m", 0.0)


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        ServerMetricSource(f"http://127.0.0.1:{free_port()}", "mk_x").read("m", 0.0)
