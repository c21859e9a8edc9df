"""Composition through the door: stacking, a default answer, a shadow whose answers are paired with the primary's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from maestro.core.contract import Feature, ModelContract, Output
from maestro.core.graph import EnsembleNode
from tests.serving.conftest import Client, Serve, Trained, Workshop, eventually, node

DEAD = {"type": "remote", "url": "http://127.0.0.1:9/v2/models/m", "timeout_ms": 200}


def copies(client: Client, node_name: str) -> dict[str, float]:
    prefix = f'maestro_shadow_copies_total{{model="m",node="{node_name}",result="'
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(prefix)]
    return {line.removeprefix(prefix).partition('"')[0]: float(line.split()[-1]) for line in lines}


@pytest.mark.door
@pytest.mark.shows("G15", env="laptop")
def test_stacking_feeds_a_meta_model_with_the_members_scores(
    workshop: Workshop, trained: Trained, worse: Trained, serve: Serve
) -> None:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    # Members that answer the opposite of each other: a meta model learns whom to believe.
    members = {
        "g": node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)),
        "b": node(workshop.register("1.1.0", {"model.onnx": worse.onnx}, worse.contract)),
    }
    scores = np.hstack([trained.model.predict_proba(trained.rows), worse.model.predict_proba(trained.rows)])
    meta = LogisticRegression().fit(scores, trained.answers)
    features = tuple(Feature(name=f"s{i}", min=0.0, max=1.0) for i in range(4))
    contract = ModelContract.build(features, Output(kind="classification", classes=("0", "1")))
    onnx = to_onnx(meta, scores[:1], options={id(meta): {"zipmap": False}}).SerializeToString()
    top = workshop.register("1.0.0", {"model.onnx": onnx}, contract, model="meta")
    stack = {"type": "ensemble", "combine": "stacking", "members": ["g", "b"], "meta": "t"}
    workshop.graph(members | {"t": node(top), "e": stack}, "e")
    client = serve()
    response = client.post("/predict", json={"instances": trained.rows[:100].tolist()})
    assert response.json()["predictions"] == meta.predict(scores[:100]).tolist()
    assert response.headers["x-maestro-version"] == "1.0.0+1.1.0+1.0.0"
    assert client.post("/predict", json={"instances": [[1.0]]}).status_code == 422


@pytest.mark.parametrize(
    "fields", [{"combine": "stacking"}, {"combine": "mean", "meta": "t"}, {"combine": "weighted"}], ids=str
)
def test_an_ensemble_names_what_its_way_of_combining_needs(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EnsembleNode(members=("a", "b"), **fields)


@pytest.mark.door
@pytest.mark.shows("G7", env="laptop")
def test_a_fallback_ends_in_the_previous_version_or_a_default_answer_and_says_so(
    workshop: Workshop, trained: Trained, serve: Serve
) -> None:
    old = node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract))
    unknown = {"type": "default", "answer": -1}
    nodes = {"r": DEAD, "old": old, "d": unknown}
    rows = trained.rows[:3].tolist()
    client = serve()
    for revision, (order, expected, stood_in) in enumerate(
        [(["r", "old", "d"], trained.answers[:3], "old"), (["r", "d"], [-1, -1, -1], "d")], 1
    ):
        workshop.graph(nodes | {"f": {"type": "fallback", "nodes": order}}, "f", revision=revision)
        eventually(lambda wanted=revision: client.get("/healthz").json()["models"].get("m") == wanted)  # type: ignore[misc]
        response = client.post("/predict", json={"instances": rows})
        assert response.json()["predictions"] == expected
        assert response.headers["x-maestro-fallback"] == stood_in
        assert response.headers["x-maestro-arm"] == "f"
    failed = 'maestro_inference_requests_total{arm="f",model="m",outcome="error",version="remote"} 2.0'
    assert failed in client.get("/metrics").text, "the failure is the arm's own"


@pytest.mark.door
@pytest.mark.shows("F6", env="laptop")
def test_a_shadow_is_compared_row_by_row_and_never_answers(
    workshop: Workshop, trained: Trained, worse: Trained, serve: Serve
) -> None:
    a = node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract))
    b = node(workshop.register("1.1.0", {"model.onnx": worse.onnx}, worse.contract, statement="authorisation"))
    workshop.graph({"a": a, "b": b, "s": {"type": "shadow", "primary": "a", "mirror": "b"}}, "s")
    client = serve()
    rows = trained.rows[:200]
    response = client.post("/predict", json={"instances": rows.tolist()})
    assert response.json()["predictions"] == trained.answers[:200]
    agreed = sum(x == y for x, y in zip(trained.answers[:200], worse.model.predict(rows).tolist(), strict=True))
    eventually(lambda: copies(client, "s") == {"agree": agreed, "differ": 200 - agreed})


@pytest.mark.door
@pytest.mark.shows("F6", env="laptop")
def test_a_mirror_that_is_down_fails_nobody_and_is_counted(workshop: Workshop, trained: Trained, serve: Serve) -> None:
    a = node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract))
    workshop.graph({"a": a, "r": DEAD, "s": {"type": "shadow", "primary": "a", "mirror": "r"}}, "s")
    client = serve()
    for _ in range(5):
        assert client.post("/predict", json={"instances": trained.rows[:2].tolist()}).status_code == 200
    eventually(lambda: copies(client, "s").get("failed") == 10)
