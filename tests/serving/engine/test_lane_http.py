"""What is answered as one batch: neighbours of a bad row, what a batch may hold, and whose failures count."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from maestro.core.contract import ModelContract
from maestro.serving.runtimes import Answers, ModelFailed, ModelRuntime
from maestro.serving.table import Batch, Prediction
from tests.serving.conftest import ENTITY, Client, Serve, Trained, Workshop, eventually, node, split
from tests.serving.engine.test_connection_http import Reader, post

pytestmark = pytest.mark.door


class Threshold:
    """A real, tiny model in this process: 1 where the first column exceeds 1,000. It fails on any batch that holds a negative first column."""

    kind: ClassVar[str] = "threshold"
    quick = True
    inline = True
    path = "threshold"

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def cost_us(self, rows: int) -> float:
        """Little."""
        return 1.0 * rows

    def load(self) -> None:
        """Nothing to load."""

    def warm_up(self, sample: Batch) -> None:
        """Nothing to warm."""

    def predict(self, batch: Batch, timeout_s: float) -> Prediction:
        """One value a row."""
        return self.answer(batch, timeout_s).prediction()

    def answer(self, batch: Batch, timeout_s: float) -> Answers:
        """In arrays."""
        self.sizes.append(batch.size)
        first = batch.column(0)
        if (first < 0).any():
            raise ModelFailed("a row is poison", remedy="send another")
        return Answers((first > 1000).astype(np.int64))

    def close(self) -> None:
        """Nothing to close."""


class Factory:
    """Makes thresholds."""

    def __init__(self) -> None:
        self.made: list[Threshold] = []

    def make(self, kind: str, folder: Path, contract: ModelContract) -> ModelRuntime:
        """One."""
        self.made.append(Threshold())
        return self.made[-1]


def at_once(client: Client, bodies: list[bytes]) -> list[tuple[int, dict[str, str], Any]]:
    """Send on one connection in one segment, so that all arrive in the same turn of the event loop."""
    with socket.create_connection(("127.0.0.1", int(client.base_url.port or 0)), timeout=10) as sock:
        sock.sendall(b"".join(post(body) for body in bodies))
        reader = Reader(sock)
        answers = []
        for _ in bodies:
            status, headers, body = reader.answer()
            answers.append((status, headers, json.loads(body)))
        return answers


def rows_of(*firsts: float) -> bytes:
    return json.dumps({"instances": [[first, 15, 80, 500] for first in firsts]}).encode()


@pytest.fixture
def factory() -> Factory:
    return Factory()


@pytest.fixture
def client(workshop: Workshop, trained: Trained, serve: Serve, factory: Factory) -> Client:
    """One version, answered by a threshold."""
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    return serve(runtimes=factory)


def test_what_arrives_together_is_asked_together(client: Client, factory: Factory) -> None:
    answers = at_once(client, [rows_of(first) for first in range(990, 1010)] + [rows_of(5, 5000, 7)])
    assert [body["predictions"] for _, _, body in answers] == [[int(x > 1000)] for x in range(990, 1010)] + [[0, 1, 0]]
    assert max(factory.made[0].sizes) > 1
    assert sum(factory.made[0].sizes) == 23
    assert 'maestro_responses_total{status="200"} 21.0' in client.get("/metrics").text


def test_more_rows_than_one_request_may_hold_are_refused(workshop: Workshop, trained: Trained, serve: Serve) -> None:
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    client = serve(runtimes=Factory(), max_rows=3)
    assert client.post("/predict", content=rows_of(1, 2, 3)).status_code == 200
    assert client.post("/predict", content=rows_of(1, 2, 3, 4)).status_code == 413


@pytest.mark.shows("G11", env="laptop")
def test_a_poisoned_row_fails_alone(client: Client) -> None:
    firsts = [10.0, -1.0, 2000.0, 30.0]
    answers = at_once(client, [rows_of(first) for first in firsts])
    assert [status for status, _, _ in answers] == [200, 503, 200, 200]
    assert "poison" in answers[1][2]["detail"]
    assert [answers[i][2]["predictions"] for i in (0, 2, 3)] == [[0], [1], [0]]
    # What breaks the contract, in a batch with what does not.
    wide = json.dumps({"instances": [[1, 2, 3, 4, 5]]}).encode()
    missing = json.dumps({"instances": [[1, 2, 3, None]]}).encode()
    huge = b'{"instances": [[1, 2, 3, 1e308], [1, 2, 3, 4]]}'
    answers = at_once(client, [rows_of(10), wide, rows_of(2000), missing, b"{", huge])
    assert [status for status, _, _ in answers] == [200, 422, 200, 422, 400, 200]
    text = client.get("/metrics").text
    assert 'maestro_inference_requests_total{arm="a",model="m",outcome="error",version="1.0.0"} 1.0' in text
    assert 'maestro_inference_requests_total{arm="a",model="m",outcome="contract",version="1.0.0"} 2.0' in text
    assert 'maestro_inference_requests_total{arm="a",model="m",outcome="ok",version="1.0.0"} 6.0' in text


def test_a_failing_arm_keeps_its_share_and_its_failures(
    workshop: Workshop, trained: Trained, serve: Serve, factory: Factory
) -> None:
    """A request that fails on the lane is not assigned anew: an arm that always fails is still drawn as often as its weight says."""
    a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    b = workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract, statement="authorisation")
    workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 5000, experiment="e")}, "ab")

    class Broken(Factory):
        def make(self, kind: str, folder: Path, contract: ModelContract) -> ModelRuntime:
            runtime = Threshold()
            self.made.append(runtime)
            if len(self.made) == 2:

                def fail(batch: Batch, timeout_s: float) -> Answers:
                    raise ModelFailed("it always fails", remedy="none")

                runtime.answer = fail  # type: ignore[method-assign]  # one instance of a model that is broken
            return runtime

    client = serve(runtimes=Broken())
    total = 400
    for _ in range(10):
        answers = at_once(client, [rows_of(10)] * (total // 10))
        assert all(status == 200 for status, _, _ in answers), "the fallback answers"
    server = client.server
    outcomes = {key[2]: counters.outcomes for key, counters in server.metrics.arms.items()}
    failed = outcomes["b"]["error"]
    assert outcomes["a"]["ok"] + failed == total
    # Binomial with p = 0.5: beyond four standard deviations the draw is not the weight's.
    assert abs(failed - total / 2) < 4 * (total / 4) ** 0.5
    assert {answer[1].get("x-maestro-fallback") for answer in answers} == {None, "a"}


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/v2/models/m/infer"])
def test_the_lane_answers_as_the_data_plane_does(workshop: Workshop, trained: Trained, serve: Serve, path: str) -> None:
    """The same rows as numbers by position (lane) and by name (data plane) get the same answer and the same headers."""
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    client = serve()
    rows, names = trained.rows[:7], list(trained.contract.names)
    hot: dict[str, Any]
    cold: dict[str, Any]
    if path == "/predict":
        hot = {"instances": rows.tolist()}
        cold = {"instances": [dict(zip(names, row, strict=True)) for row in rows.tolist()]}
    elif path == "/invocations":
        hot = {"dataframe_split": {"columns": names, "data": rows.tolist()}}
        cold = {"dataframe_split": {"columns": names[::-1], "data": rows[:, ::-1].tolist()}}
    else:
        hot = {"inputs": [{"name": "rows", "shape": [7, 4], "datatype": "FP64", "data": rows.ravel().tolist()}]}
        cold = {
            "inputs": [
                {"name": name, "shape": [7, 1], "datatype": "FP64", "data": rows[:, i].tolist()}
                for i, name in enumerate(names)
            ]
        }
    one, other = client.post(path, json=hot), client.post(path, json=cold)
    assert one.status_code == other.status_code == 200
    assert one.json() == other.json()
    for name in ("content-type", "x-maestro-version", "x-maestro-arm", "x-maestro-revision"):
        assert one.headers[name] == other.headers[name]


@pytest.mark.shows("H5", env="laptop")
def test_a_unit_stays_with_its_arm_on_both_ways(
    workshop: Workshop, trained: Trained, worse: Trained, serve: Serve
) -> None:
    a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    b = workshop.register("1.1.0", {"model.onnx": worse.onnx}, worse.contract, statement="authorisation")
    workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 5000, experiment="e")}, "ab")
    client = serve()
    names = trained.contract.names
    for unit in range(30):
        row = trained.rows[unit].tolist()
        arms = {
            client.post("/predict", json=body).headers["x-maestro-arm"]
            for body in (
                {"instances": [row], "context": {ENTITY: unit}},
                {"instances": [row], "entities": [{ENTITY: unit}]},
                {"instances": [dict(zip(names, row, strict=True))], "context": {ENTITY: unit}},
            )
        } | {
            client.post("/predict", json={"instances": [row]}, headers={"x-maestro-unit": str(unit)}).headers[
                "x-maestro-arm"
            ]
        }
        assert len(arms) == 1, unit
    readings = client.server.reading("m", 0.0)
    assert sum(arm.exposed for arm in readings.arms.values()) == 30


def test_tensors_come_and_go_as_bytes(workshop: Workshop, trained: Trained, serve: Serve) -> None:
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    client = serve()

    def ask(datatype: str, data: bytes, **members: Any) -> Any:
        tensor = {"name": "rows", "shape": [5, 4], "datatype": datatype, "parameters": {"binary_data_size": len(data)}}
        head = json.dumps({"inputs": [tensor]} | members).encode()
        return client.post(
            "/v2/models/m/infer", content=head + data, headers={"Inference-Header-Content-Length": str(len(head))}
        )

    for datatype, dtype in (("FP64", "<f8"), ("FP32", "<f4")):
        response = ask(datatype, trained.rows[:5].astype(dtype).tobytes())
        assert response.json()["outputs"][0]["data"] == trained.answers[:5], response.text
    response = ask("FP64", trained.rows[:5].tobytes(), parameters={"binary_data_output": True})
    size = int(response.headers["inference-header-content-length"])
    document = json.loads(response.content[:size])
    answer, scores = document["outputs"]
    split_at = size + answer["parameters"]["binary_data_size"]
    assert np.frombuffer(response.content[size:split_at], "<i8").tolist() == trained.answers[:5]
    assert np.frombuffer(response.content[split_at:], "<f8").reshape(scores["shape"]).shape == (5, 2)
    for broken in (trained.rows[:4].tobytes(), b""):
        assert ask("FP64", broken).status_code == 400
    assert (
        client.post("/v2/models/m/infer", content=b"{}", headers={"Inference-Header-Content-Length": "99"}).status_code
        == 400
    )


@pytest.mark.shows("G10", "G11", env="laptop")
def test_a_model_that_keeps_failing_is_left_alone_and_taken_back(client: Client, factory: Factory) -> None:
    for _ in range(12):
        assert client.post("/predict", content=rows_of(-1)).status_code == 503
    model = factory.made[0]
    asked = len(model.sizes)
    refused = client.post("/predict", content=rows_of(10))
    assert refused.status_code == 503
    assert "failed too often" in refused.json()["detail"]
    assert int(refused.headers["retry-after"]) >= 1
    assert len(model.sizes) == asked, "the model is not asked"
    assert 'maestro_breaker_state{model="m"} 2.0' in client.get("/metrics").text
    eventually(lambda: client.post("/predict", content=rows_of(10)).status_code == 200, timeout_s=10)
    assert 'maestro_breaker_state{model="m"} 0.0' in client.get("/metrics").text


async def _many(port: int, count: int, body: bytes) -> int:
    async def one() -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(body))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        writer.close()
        return b" 200 " in head.split(b"\r\n")[0]

    return sum(await asyncio.gather(*(one() for _ in range(count))))


def test_hundreds_of_connections_at_once_are_all_answered(client: Client) -> None:
    assert asyncio.run(_many(int(client.base_url.port or 0), 400, rows_of(10))) == 400
