"""Labels over HTTP: who may send them, what is refused, what is counted."""

from __future__ import annotations

from typing import Any

import pytest

from maestro.core.contract import ModelContract, Output
from maestro.core.principals import PrincipalRole
from tests.serving.conftest import ENTITY, Client, Serve, Trained, Workshop, node

pytestmark = pytest.mark.door

AT = "2026-01-01T00:00:00Z"


@pytest.fixture
def header(workshop: Workshop) -> dict[str, str]:
    return {"Authorization": f"Bearer {workshop.key(PrincipalRole.SUBMITTER)}"}


@pytest.fixture
def client(workshop: Workshop, trained: Trained, serve: Serve, header: dict[str, str]) -> Client:
    version = workshop.register(
        "1.0.0", {"model.onnx": trained.onnx}, trained.contract, trained_on=[str(number) for number in range(100, 200)]
    )
    workshop.graph({"a": node(version)}, "a")
    return serve()


def label(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "entity": {ENTITY: 7}, "label": 1, "at": AT} | fields


def evidence(client: Client, header: dict[str, str]) -> dict[str, int]:
    arm: dict[str, int] = client.get("/admin/evidence/m", headers=header).json()["arms"]["a"]
    return arm


@pytest.mark.shows("H10", env="laptop")
def test_labels_are_joined_to_first_answers(client: Client, trained: Trained, header: dict[str, str]) -> None:
    for entity in range(10):
        client.post("/predict", json={"instances": [trained.rows[entity].tolist()], "entities": [{ENTITY: entity}]})
    wrong = [label(entity=str(entity), label=1 - trained.answers[entity]) for entity in range(3)]
    right = [label(entity={ENTITY: entity}, label=trained.answers[entity]) for entity in range(3, 6)]
    unknown = [label(unit=999, entity=None)]
    answered = client.post("/labels", json=wrong + right + unknown, headers=header)
    assert answered.json() == {"accepted": 7, "joined": 6, "duplicates": 0}
    again = client.post("/labels", json=wrong, headers=header)
    assert again.json() == {"accepted": 3, "joined": 0, "duplicates": 3}
    counted = evidence(client, header)
    assert (counted["exposed"], counted["eligible"], counted["labelled"], counted["wrong"]) == (10, 10, 6, 3)
    text = client.get("/metrics").text
    assert 'maestro_labels_total{correct="false",model="m",version="1.0.0"} 3.0' in text
    assert 'maestro_labels_total{correct="true",model="m",version="1.0.0"} 3.0' in text


def test_entities_that_the_version_was_trained_on_are_no_evidence(
    client: Client, trained: Trained, header: dict[str, str]
) -> None:
    for entity in (99, 100, 150, 199, 200):
        client.post("/predict", json={"instances": [trained.rows[0].tolist()], "entities": [{ENTITY: entity}]})
        client.post("/labels", json=[label(entity=entity)], headers=header)
    counted = evidence(client, header)
    assert (counted["exposed"], counted["labelled"], sum(counted["requests"].values())) == (2, 2, 5)  # type: ignore[attr-defined]


def test_labels_need_a_role(client: Client, workshop: Workshop) -> None:
    viewer = {"Authorization": f"Bearer {workshop.key(PrincipalRole.VIEWER, name='viewer')}"}
    nobody = {"Authorization": f"Bearer {workshop.key(name='nobody')}"}
    assert client.post("/labels", json=[label()]).status_code == 401
    assert client.post("/labels", json=[label()], headers={"Authorization": "Bearer mk_wrong"}).status_code == 401
    assert client.post("/labels", json=[label()], headers={"Authorization": "Basic abc"}).status_code == 401
    assert client.post("/labels", json=[label()], headers=viewer).status_code == 403
    assert client.get("/admin/evidence/m", headers=viewer).status_code == 200
    assert client.get("/admin/evidence/m", headers=nobody).status_code == 403
    assert client.get("/admin/graphs", headers=nobody).status_code == 403


@pytest.mark.parametrize(
    ("sent", "status", "says"),
    [
        ([label(model="n")], 404, "labels[0]"),
        ([label(), label(label=2)], 422, "labels[1].label"),
        ([label(label="malignant")], 422, "labels[0].label"),
        ([label(entity=None)], 422, "labels[0]"),
        ([label(unit="7")], 422, "either entity or unit"),
        ([label(entity={"person": 7})], 422, "labels[0].entity"),
        ([label(entity={ENTITY: ""})], 422, "entity"),
        ([label(at="yesterday")], 422, "at"),
        ([label(at="2026-01-01T00:00:00")], 422, "at"),
        ([label(more=1)], 422, "more"),
        ([{"model": "m"}], 422, "label"),
        ({"model": "m"}, 422, "body"),
        ([label()] * 10_001, 413, "10000"),
    ],
)
def test_a_wrong_batch_is_refused_as_a_whole(
    client: Client, header: dict[str, str], sent: Any, status: int, says: str
) -> None:
    response = client.post("/labels", json=sent, headers=header)
    assert response.status_code == status, response.text
    assert says in response.text
    assert evidence(client, header)["labelled"] == 0
    assert client.post("/labels", json=[label()], headers=header).json()["duplicates"] == 0


def test_a_model_whose_answers_are_not_simply_right_takes_no_labels(
    workshop: Workshop, trained: Trained, serve: Serve, header: dict[str, str]
) -> None:
    contract = ModelContract.build(trained.contract.features, Output(kind="regression"), entity_keys=(ENTITY,))
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, contract)
    workshop.graph({"a": node(version)}, "a")
    response = serve().post("/labels", json=[label()], headers=header)
    assert response.status_code == 422
    assert "regression" in response.json()["detail"]


def test_no_labels_are_no_work(client: Client, header: dict[str, str]) -> None:
    assert client.post("/labels", json=[], headers=header).json() == {"accepted": 0, "joined": 0, "duplicates": 0}
