"""A router to remote nodes, through its door: requests that come together are asked together, and each is answered, counted and replaced by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.serving.conftest import ENTITY, Client, Serve, Trained, Workshop, node, split
from tests.serving.engine.test_lane_http import at_once
from tests.serving.remote_model import CRASH, POISON, RemoteModel, standing

pytestmark = pytest.mark.door


def body(first: float, **members: Any) -> bytes:
    return json.dumps({"instances": [[first, 1.0]], **members}).encode()


def remote(url: str, timeout_ms: int = 5000) -> dict[str, Any]:
    return {"type": "remote", "url": url, "timeout_ms": timeout_ms}


def counted(client: Client, arm: str) -> dict[str, int]:
    outcomes = client.server.metrics.arm("m", "remote", arm).outcomes
    return {outcome: count for outcome, count in outcomes.items() if count}


@pytest.fixture
def model() -> RemoteModel:
    return RemoteModel()


@pytest.fixture
def url(model: RemoteModel) -> Iterator[str]:
    with standing(model) as found:
        yield found


@pytest.fixture
def client(workshop: Workshop, serve: Serve, model: RemoteModel, url: str) -> Client:
    """A router to one node, which has answered once."""
    workshop.graph({"r": remote(url)}, "r")
    found = serve()
    assert found.post("/predict", content=body(0)).json() == {"predictions": [1.0]}
    model.asked.clear()
    return found


@pytest.mark.shows("H4", env="laptop")
def test_what_arrives_together_is_asked_together_and_answered_in_order(client: Client, model: RemoteModel) -> None:
    answers = at_once(client, [body(number) for number in range(40)])
    assert [document["predictions"] for _, _, document in answers] == [[number + 1.0] for number in range(40)]
    assert {(status, headers["x-maestro-version"], headers["x-maestro-arm"]) for status, headers, _ in answers} == {
        (200, "3.0.0", "r")
    }
    assert len(model.sizes) < 8
    assert sum(model.sizes) == 40
    assert counted(client, "r") == {"ok": 41}
    text = client.get("/metrics").text
    assert 'maestro_responses_total{status="200"} 41.0' in text
    assert "maestro_inference_inflight 0.0" in text


def test_a_poisoned_row_fails_alone(client: Client, model: RemoteModel) -> None:
    firsts = [1.0, POISON, 2.0, CRASH, 3.0]
    answers = at_once(client, [body(first) for first in firsts])
    assert [status for status, _, _ in answers] == [200, 422, 200, 503, 200]
    assert answers[1][2]["field"] == "instances"
    assert "node 'r' refused the rows: a row is poison" in answers[1][2]["detail"]
    assert "500" in answers[3][2]["detail"]
    assert counted(client, "r") == {"ok": 4, "contract": 1, "error": 1}
    alone = [rows for rows in model.asked if len(rows) == 1 and rows[0][0] in (POISON, CRASH)]
    assert len(alone) == 2, "a node that has said what is wrong is not asked again"
    lone = client.post("/predict", content=body(POISON))
    assert (lone.status_code, lone.json()["field"]) == (422, "instances")


def test_an_arm_that_fails_is_replaced_and_has_failed_once_a_request(
    workshop: Workshop, trained: Trained, serve: Serve, model: RemoteModel, url: str
) -> None:
    local = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(local), "r": remote(url), "ar": split("a", "r", 10_000, experiment="e")}, "ar")
    client = serve()
    rows = trained.rows[:8].tolist()
    model.fault = lambda rows: b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n"
    bodies = [json.dumps({"instances": [row], "context": {ENTITY: number}}).encode() for number, row in enumerate(rows)]
    answers = at_once(client, bodies)
    assert [document["predictions"][0] for _, _, document in answers] == trained.answers[:8]
    for status, headers, _ in answers:
        assert (status, headers["x-maestro-arm"], headers["x-maestro-fallback"]) == (200, "r", "a")
    assert counted(client, "r") == {"error": 8}
    assert len(model.asked) == 8
    reading = client.server.reading("m", 0.0)
    assert reading.arms["r"].exposed == 8


def test_too_slow_a_node_is_told_at_its_timeout_and_left_alone(
    workshop: Workshop, serve: Serve, model: RemoteModel, url: str
) -> None:
    workshop.graph({"r": remote(url, 200)}, "r")
    client = serve()
    assert client.post("/predict", content=body(0)).status_code == 200
    model.delay_s = 1.0
    began = time.monotonic()
    answers = at_once(client, [body(number) for number in range(20)])
    assert time.monotonic() - began < 0.5
    assert [status for status, _, _ in answers] == [503] * 20
    assert all("did not answer within 200 ms" in document["detail"] for _, _, document in answers)
    assert counted(client, "r") == {"ok": 1, "timeout": 20}
    assert "failed too often" in client.post("/predict", content=body(1)).json()["detail"]


def test_a_full_router_refuses(workshop: Workshop, serve: Serve, model: RemoteModel, url: str) -> None:
    workshop.graph({"r": remote(url)}, "r")
    client = serve(queue_limit=10)
    assert client.post("/predict", content=body(0)).status_code == 200
    model.delay_s = 0.2
    statuses = [status for status, _, _ in at_once(client, [body(number) for number in range(30)])]
    assert (statuses.count(200), statuses.count(429)) == (10, 20)


def test_more_rows_than_one_request_may_hold_are_refused(workshop: Workshop, serve: Serve, url: str) -> None:
    workshop.graph({"r": remote(url)}, "r")
    client = serve(max_rows=3)
    assert client.post("/predict", json={"instances": [[1.0]] * 3}).status_code == 200
    assert client.post("/predict", json={"instances": [[1.0]] * 4}).status_code == 413


def test_what_no_json_can_say_is_the_callers_fault_and_closes_the_node_to_nobody(client: Client) -> None:
    large = json.dumps({"instances": [{"x": 10**400}]}).encode()
    data = np.array([[np.nan, 1.0]]).tobytes()
    tensor = {
        "name": "rows", "shape": [1, 2], "datatype": "FP64", "parameters": {"binary_data_size": len(data)},
    }  # fmt: skip
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    for _ in range(12):
        assert client.post("/predict", content=large).status_code == 422
        refused = client.post("/v2/models/m/infer", content=head + data, headers=headers)
        assert (refused.status_code, refused.json()["field"]) == (400, "inputs[0]"), refused.text
    assert client.post("/predict", content=body(1)).status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/v2/models/m/infer"])
@pytest.mark.parametrize("width", [1, 3])
def test_the_lane_answers_as_the_data_plane_does(client: Client, path: str, width: int) -> None:
    """Rows by position take the lane, rows by name do not."""
    rows = [[float(row * 10 + column) for column in range(width)] for row in range(4)]
    names = [f"x{column}" for column in range(width)]
    hot: dict[str, Any] = {"instances": rows}
    cold: dict[str, Any] = {"instances": [dict(zip(names, row, strict=True)) for row in rows]}
    if path != "/predict":
        flat = [value for row in rows for value in row]
        hot = {"inputs": [{"name": "rows", "shape": [4, width], "datatype": "FP64", "data": flat}]}
        cold = {
            "inputs": [
                {"name": name, "shape": [4], "datatype": "FP64", "data": [row[column] for row in rows]}
                for column, name in enumerate(names)
            ]
        }
    one, other = client.post(path, json=hot), client.post(path, json=cold)
    assert one.status_code == other.status_code == 200, one.text
    assert one.json() == other.json()
    for name in ("content-type", "x-maestro-version", "x-maestro-arm", "x-maestro-revision"):
        assert one.headers[name] == other.headers[name]
    assert counted(client, "r") == {"ok": 3}


def test_units_are_exposed_on_both_ways(workshop: Workshop, serve: Serve, model: RemoteModel, url: str) -> None:
    workshop.graph({"a": remote(url), "b": remote(url), "ab": split("a", "b", 5000, experiment="e")}, "ab")
    client = serve()
    for unit in range(30):
        arms = set()
        for instance in ([1.0, 2.0], {"x": 1.0, "y": 2.0}):
            document = {"instances": [instance], "context": {ENTITY: unit}}
            arms.add(client.post("/predict", json=document).headers["x-maestro-arm"])
        assert len(arms) == 1, unit
    reading = client.server.reading("m", 0.0)
    assert sum(arm.exposed for arm in reading.arms.values()) == 30
    assert counted(client, "a")["ok"] + counted(client, "b")["ok"] == 60


def test_an_answer_that_would_break_the_head_is_none(client: Client, model: RemoteModel) -> None:
    model.version = "1\r\nx-evil: 1"
    response = client.post("/predict", content=body(1))
    assert response.status_code == 503
    assert "not printable" in response.json()["detail"]
