"""What callers send and get, over HTTP: the platform's own protocol, MLflow's, and the Open Inference Protocol."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from maestro.clients.home import Home
from maestro.core.contract import ModelContract
from maestro.serving.feature_sources import LazyFeatures
from tests.serving.conftest import Client, Serve, Trained, Workshop, eventually, node, serving, split

pytestmark = pytest.mark.door


@pytest.fixture(scope="module")
def client(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server with one model; no test changes what it serves."""
    workshop = Workshop(Home(tmp_path_factory.mktemp("home")))
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    with serving(workshop, max_rows=600, max_body_bytes=200_000) as client:
        yield client


def test_predict_takes_rows_by_position(client: Client, trained: Trained) -> None:
    response = client.post("/predict", json={"instances": trained.rows[:5].tolist()})
    assert response.status_code == 200, response.text
    assert response.json() == {"predictions": trained.answers[:5]}
    assert response.headers["x-maestro-version"] == "1.0.0"
    assert response.headers["x-maestro-arm"] == "a"
    assert response.headers["x-maestro-revision"] == "1"
    assert "x-maestro-fallback" not in response.headers


def test_predict_takes_rows_by_name(client: Client, trained: Trained) -> None:
    rows = [
        dict(zip(reversed(trained.contract.names), reversed(row), strict=True)) for row in trained.rows[:5].tolist()
    ]
    assert client.post("/predict", json={"instances": rows}).json() == {"predictions": trained.answers[:5]}


def test_whole_numbers_are_numbers(client: Client) -> None:
    assert client.post("/predict", json={"instances": [[12, 15, 80, 500]]}).status_code == 200


@pytest.mark.parametrize("form", ["dataframe_split", "dataframe_records", "instances", "inputs", "inputs-rows", "csv"])
def test_invocations_takes_every_form_of_mlflow(client: Client, trained: Trained, form: str) -> None:
    rows, names = trained.rows[:4].tolist(), list(trained.contract.names)
    bodies: dict[str, dict[str, Any]] = {
        "dataframe_split": {"dataframe_split": {"columns": names, "data": rows, "index": [0, 1, 2, 3]}},
        "dataframe_records": {"dataframe_records": [dict(zip(names, row, strict=True)) for row in rows]},
        "instances": {"instances": rows},
        "inputs": {"inputs": {name: trained.rows[:4, i].tolist() for i, name in enumerate(names)}},
        "inputs-rows": {"inputs": rows},
    }
    if form == "csv":
        text = "\n".join([",".join(names), *(",".join(repr(value) for value in row) for row in rows)])
        response = client.post("/invocations", content=text, headers={"Content-Type": "text/csv; charset=utf-8"})
    else:
        response = client.post("/invocations", json=bodies[form])
    assert response.status_code == 200, response.text
    assert response.json() == {"predictions": trained.answers[:4]}


def infer(client: Client, inputs: list[dict[str, Any]], path: str = "/v2/models/m/infer", **members: Any) -> Any:
    return client.post(path, json={"inputs": inputs} | members)


def test_open_inference_takes_one_matrix_or_one_tensor_a_feature(client: Client, trained: Trained) -> None:
    rows = trained.rows[:3]
    matrix = {"name": "rows", "shape": [3, 4], "datatype": "FP64", "data": rows.ravel().tolist()}
    nested = matrix | {"data": rows.tolist()}
    columns = [
        {"name": name, "shape": [3, 1] if i % 2 else [3], "datatype": "FP64", "data": rows[:, i].tolist()}
        for i, name in enumerate(trained.contract.names)
    ]
    for inputs in ([matrix], [nested], columns):
        response = infer(client, inputs, id="42")
        assert response.status_code == 200, response.text
        document = response.json()
        assert document["id"] == "42"
        assert document["model_name"] == "m"
        assert document["model_version"] == "1.0.0"
        assert document["outputs"][0] == {
            "name": "predict", "shape": [3], "datatype": "INT64", "data": trained.answers[:3],
        }  # fmt: skip
    scores = document["outputs"][1]
    assert scores["shape"] == [3, 2]
    assert np.allclose(np.array(scores["data"]).reshape(3, 2), trained.model.predict_proba(rows), atol=1e-5)


def test_open_inference_gives_the_outputs_that_are_asked_for(client: Client, trained: Trained) -> None:
    matrix = [{"name": "rows", "shape": [1, 4], "datatype": "FP32", "data": trained.rows[0].tolist()}]
    answered = infer(client, matrix, outputs=[{"name": "probabilities"}]).json()["outputs"]
    assert [output["name"] for output in answered] == ["probabilities"]


def test_open_inference_metadata_and_versions(client: Client, trained: Trained) -> None:
    assert client.get("/v2").json()["name"] == "maestro"
    metadata = client.get("/v2/models/m").json()
    assert metadata["versions"] == ["1.0.0"]
    assert [tensor["name"] for tensor in metadata["inputs"]] == list(trained.contract.names)
    assert client.get("/v2/models/m/versions/1.0.0").json() == metadata
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/m/ready", "/v2/models/m/versions/1.0.0/ready"):
        assert client.get(path).status_code == 200
    matrix = [{"name": "rows", "shape": [1, 4], "datatype": "FP64", "data": trained.rows[0].tolist()}]
    assert infer(client, matrix, "/v2/models/m/versions/1.0.0/infer").status_code == 200
    missing = infer(client, matrix, "/v2/models/m/versions/9.0.0/infer")
    assert missing.status_code == 404
    assert "1.0.0" in missing.json()["remedy"]


def test_the_shapes_that_other_servers_document_are_taken(client: Client, trained: Trained) -> None:
    """As their guides send them: rows within rows, a codec's hint, a column a tensor, a frame with numbered columns, compressed."""
    rows, names = trained.rows[:2], list(trained.contract.names)
    nested = {"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": rows.tolist()}
    hinted = {"name": "predict", "shape": [2, 4], "datatype": "FP64", "data": rows.ravel().tolist()}
    columns = [
        {"name": name, "shape": [2], "datatype": "FP64", "data": rows[:, position].tolist()}
        for position, name in enumerate(names)
    ]
    documented: list[dict[str, Any]] = [
        {"inputs": [nested]},
        {"id": "1", "inputs": [hinted | {"parameters": {"content_type": "np"}}], "parameters": {"content_type": "np"}},
        {"inputs": columns, "parameters": {"content_type": "pd"}, "outputs": [{"name": "predict"}]},
    ]
    for document in documented:
        answer = client.post("/v2/models/m/infer", json=document)
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["data"] == trained.answers[:2]
    numbered = {"dataframe_split": {"columns": [0, 1, 2, 3], "data": rows.tolist()}}
    assert client.post("/invocations", json=numbered).json() == {"predictions": trained.answers[:2]}
    body = json.dumps({"instances": rows.tolist()}).encode()
    for coding, pack in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        packed = client.post("/predict", content=pack(body), headers={"Content-Encoding": coding})
        assert packed.json() == {"predictions": trained.answers[:2]}
    for content, coding, status in (
        (body, "gzip", 400),
        (gzip.compress(body)[:-3], "gzip", 400),
        (body, "br", 415),
        (gzip.compress(b" " * 2**25), "gzip", 413),
    ):
        refused = client.post("/predict", content=content, headers={"Content-Encoding": coding})
        assert refused.status_code == status, refused.text


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [{"name": "r", "shape": [1, 4], "datatype": "FP128", "data": [1, 2, 3, 4]}],
        [{"name": "r", "shape": [1, 5], "datatype": "FP64", "data": [1, 2, 3, 4]}],
        [{"name": "r", "shape": [-1, 4], "datatype": "FP64", "data": [1, 2, 3, 4]}],
        [{"name": "r", "shape": [1, 2, 2], "datatype": "FP64", "data": [1, 2, 3, 4]}],
        [{"name": "r", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}],
        [{"name": "x0", "shape": [1], "datatype": "FP64", "data": [1]}],
        [{"name": "x0", "shape": [1], "datatype": "FP64", "data": [1]}] * 2,
        [{"name": "r", "shape": [1, 4], "datatype": "BYTES", "data": ["1", "2", "3", "4"]}],
        [{"name": "r", "shape": [0, 4], "datatype": "FP64", "data": []}],
        [{"name": "r", "shape": [2, 0], "datatype": "FP64", "data": []}],
    ],
)
def test_open_inference_refuses_wrong_tensors_in_its_own_words(client: Client, inputs: list[dict[str, Any]]) -> None:
    response = infer(client, inputs)
    assert response.status_code == 400, response.text
    assert response.json()["error"] == response.json()["detail"]


def test_open_inference_fits_its_published_description(client: Client, trained: Trained) -> None:
    specs = os.environ.get("MAESTRO_TEST_SPECS")
    if not specs:
        pytest.skip("MAESTRO_TEST_SPECS does not say where the specification is")
    import jsonschema

    text = (Path(specs) / "open-inference-protocol" / "open_inference_rest.yaml").read_text()
    schemas = yaml.safe_load(text)["components"]["schemas"]

    def check(document: Any, name: str) -> None:
        jsonschema.validate(document, {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}})

    matrix = {"name": "rows", "shape": [1, 4], "datatype": "FP64", "data": trained.rows[0].tolist()}
    check({"inputs": [matrix]}, "inference_request")
    check(client.get("/v2").json(), "metadata_server_response")
    check(client.get("/v2/models/m").json(), "metadata_model_response")
    check(infer(client, [matrix]).json(), "inference_response")
    check(infer(client, []).json(), "inference_error_response")
    ours = client.get("/openapi.json").json()["paths"]
    for path, item in yaml.safe_load(text)["paths"].items():
        mine = ours[path.replace("${MODEL_NAME}", "{model}").replace("${MODEL_VERSION}", "{version}").rstrip("/")]
        assert {"get", "post"} & set(item) <= set(mine), path


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/v2/models/m/infer"])
@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"instances": [[1, 2, 3, NaN]]}', 400),
        (b"\xff\xfe", 400),
        (b'{"instances": ' + b"[" * 100_000, 400),
        (b"[]", None),
        (b"null", None),
        (b'{"unknown": 1}', None),
    ],
)
def test_a_body_that_cannot_be_read_is_told_so(client: Client, path: str, content: bytes, status: int | None) -> None:
    response = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == (status or (400 if path.startswith("/v2") else 422)), response.text
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["detail"]
    assert problem["remedy"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"instances": [[1, 2, 3]]}, "instances[0]"),
        ({"instances": [[1, 2, 3, 4], [1, 2, 3]]}, "instances[1]"),
        ({"instances": [[1, 2, 3, None]]}, "instances[0].x3"),
        ({"instances": [[1, 2, 3, "4"]]}, "instances[0].x3"),
        ({"instances": [[1, 2, 3, True]]}, "instances[0].x3"),
        ({"instances": [[1, 2, 3, 1e400]]}, None),
        ({"instances": [{"x0": 1, "x1": 2, "x2": 3}]}, "instances[0].x3"),
        ({"instances": [{"x0": 1, "x1": 2, "x2": 3, "x3": 4, "x9": 5}]}, "instances[0].x9"),
        ({"instances": [[1, 2, 3, 4], {"x0": 1}]}, "instances"),
        ({"instances": []}, "instances"),
        ({"instances": [[1, 2, 3, 4]], "entities": [{"patient_id": 1}, {"patient_id": 2}]}, "entities"),
        ({"instances": [[1, 2, 3, 4]], "entities": [{"person": 1}]}, "entities[0].person"),
        ({"entities": [{"patient_id": 1}]}, "entities"),
        ({"entities": []}, "entities"),
        ({"instances": [[1, 2, 3, 4]], "context": {"k": [1]}}, "context[...]"),
        ({"instances": "all of them"}, "instances"),
        ({}, "instances"),
    ],
)
def test_wrong_rows_are_refused_by_field(client: Client, body: dict[str, Any], field: str | None) -> None:
    response = client.post("/predict", content=json.dumps(body).replace("Infinity", "1e400"))
    assert response.status_code in (400, 422), response.text
    if field is not None:
        assert response.json()["field"] == field, response.text


def test_an_unknown_model_is_named(client: Client) -> None:
    response = client.post("/predict", json={"instances": [[1, 2, 3, 4]], "model": "n"})
    assert response.status_code == 404
    assert "'n'" in response.json()["detail"]
    assert "m" in response.json()["remedy"]
    assert client.post("/v2/models/n/infer", json={"inputs": []}).status_code == 400
    assert client.get("/v2/models/n").status_code == 404


def test_an_oversized_body_is_refused_whatever_it_says_of_its_length(client: Client) -> None:
    for path in ("/predict", "/invocations", "/v2/models/m/infer"):
        assert client.post(path, content=b" " * 300_000).status_code == 413
        assert client.post(path, content=iter([b" " * 150_000] * 2)).status_code == 413


def test_too_many_rows_are_refused(client: Client) -> None:
    response = client.post("/predict", json={"instances": [[1, 2, 3, 4]] * 601})
    assert response.status_code == 413
    assert "600" in response.json()["detail"]


def test_an_unknown_content_type_is_refused(client: Client) -> None:
    response = client.post("/predict", content=b"<rows/>", headers={"Content-Type": "application/xml"})
    assert response.status_code == 415
    assert client.get("/predict").status_code == 405


@pytest.mark.shows("G14", env="laptop")
def test_several_models_need_a_name(workshop: Workshop, trained: Trained, worse: Trained, serve: Serve) -> None:
    one = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    two = workshop.register("1.0.0", {"model.onnx": worse.onnx}, worse.contract, model="other")
    workshop.graph({"a": node(one)}, "a")
    workshop.graph({"a": node(two)}, "a", model="other")
    client = serve()
    rows = {"instances": trained.rows[:3].tolist()}
    assert client.post("/predict", json=rows).status_code == 422
    assert client.post("/predict", json=rows | {"model": "m"}).json()["predictions"] == trained.answers[:3]
    assert client.post("/predict?model=other", json=rows).json()["predictions"] == worse.answers[:3]


def test_nothing_served_yet_is_unavailable_not_an_error(serve: Serve) -> None:
    client = serve()
    response = client.post("/predict", json={"instances": [[1]]})
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert client.get("/ping").status_code == 503
    assert client.get("/v2/health/ready").status_code == 503
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/healthz").json()["ready"] is False


def test_a_candidate_cannot_be_asked_by_version(workshop: Workshop, trained: Trained, serve: Serve) -> None:
    a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    b = workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract, statement="authorisation")
    workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 100)}, "ab")
    client = serve()
    matrix = [{"name": "rows", "shape": [1, 4], "datatype": "FP64", "data": trained.rows[0].tolist()}]
    assert infer(client, matrix, "/v2/models/m/versions/1.0.0/infer").status_code == 200
    assert infer(client, matrix, "/v2/models/m/versions/1.1.0/infer").status_code == 403


@pytest.mark.shows("A4", env="laptop")
def test_features_come_from_the_online_store_by_entity(workshop: Workshop, trained: Trained, serve: Serve) -> None:
    """A real Feast repository: applied, materialised, looked up by the server."""
    from datetime import UTC, datetime

    import pandas as pd

    from maestro.clients.feast import FeatureRepository, ServiceSpec, ViewSpec

    names = trained.contract.names
    known = pd.DataFrame(trained.rows[:6], columns=list(names)).assign(
        patient_id=range(6), event_timestamp=datetime(2026, 1, 1, tzinfo=UTC), created=datetime(2026, 1, 1, tzinfo=UTC)
    )
    data = workshop.home.root / "tumours.parquet"
    known.to_parquet(data)
    repository = FeatureRepository(workshop.home.features)
    view = ViewSpec("tumours", "patient_id", data, dict.fromkeys(names, "float64"))
    repository.apply([view], [ServiceSpec("tumour_v1", [("tumours", names)])])
    repository.materialize(datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    service = {"name": "tumour_v1", "fingerprint": repository.service_fingerprint("tumour_v1")}
    contract = ModelContract.model_validate(trained.contract.document() | {"feature_service": service})
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, contract)
    workshop.graph({"a": node(version)}, "a")
    client = serve(features=LazyFeatures(workshop.home.features))
    entities = [{"patient_id": number} for number in (2, 0, 3)]
    eventually(lambda: client.post("/predict", json={"entities": entities}).status_code == 200, timeout_s=30)
    response = client.post("/predict", json={"entities": entities})
    assert response.json() == {"predictions": [trained.answers[number] for number in (2, 0, 3)]}
    unknown = client.post("/predict", json={"entities": [{"patient_id": 99}]})
    assert unknown.status_code == 404
    assert unknown.json()["field"] == "entities[0]"


def test_a_feature_store_that_is_not_there_is_named(workshop: Workshop, trained: Trained, serve: Serve) -> None:
    service = {"name": "tumour_v1", "fingerprint": "sha256:" + "0" * 64}
    contract = ModelContract.model_validate(trained.contract.document() | {"feature_service": service})
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, contract)
    workshop.graph({"a": node(version)}, "a")
    client = serve(features=LazyFeatures(workshop.home.root / "nowhere"))
    response = client.post("/predict", json={"entities": [{"patient_id": 1}]})
    assert response.status_code == 503
    assert response.json()["component"] == "feature store"
    assert client.post("/predict", json={"instances": trained.rows[:1].tolist()}).status_code == 200
