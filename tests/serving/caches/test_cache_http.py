"""Caches and circuit breakers through the door: counted, bounded in age, never stale across a swap; what is down is not asked."""

from __future__ import annotations

import time
from typing import Any

import pytest

from maestro.core.settings import ServingSettings
from tests.serving.conftest import ENTITY, Client, Trained, Workshop, eventually, node, serving
from tests.serving.test_graph import Faulty, marked


def looked(client: Client, cache: str) -> tuple[float, float]:
    """Hits and misses."""
    found = {"hits": 0.0, "misses": 0.0}
    for line in client.get("/metrics").text.splitlines():
        for side in found:
            if line.startswith(f'maestro_cache_{side}_total{{cache="{cache}"}}'):
                found[side] = float(line.split()[-1])
    return found["hits"], found["misses"]


class Store:
    """An online store in memory: rows of the training data by patient."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self.asked: list[int] = []
        self.down = False
        self.lacking: str | None = None

    def open(self, feature_service: str) -> None:
        return

    def close(self) -> None:
        return

    def get(self, feature_service: str, entity_rows: list[dict[str, Any]]) -> list[dict[str, float | None]]:
        if self.down:
            raise RuntimeError("the store's disk is gone")
        self.asked += [row[ENTITY] for row in entity_rows]
        names = self.trained.contract.names
        found = [dict(zip(names, self.trained.rows[row[ENTITY]].tolist(), strict=True)) for row in entity_rows]
        return [{name: value for name, value in row.items() if name != self.lacking} for row in found]


@pytest.mark.door
@pytest.mark.shows("G6", env="laptop")
def test_a_slow_models_answers_are_remembered_and_never_survive_a_swap(
    workshop: Workshop, trained: Trained, worse: Trained
) -> None:
    a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, marked(trained.contract, "slow"))
    b = workshop.register("1.1.0", {"model.onnx": worse.onnx}, marked(worse.contract, "slow"))
    workshop.graph({"a": node(a)}, "a")
    plan = Faulty({"slow": "slow"}, slow_s=0.01)
    body = {"instances": trained.rows[:10].tolist()}
    with serving(workshop, runtimes=plan, prediction_cache_bytes=1_000_000) as client:
        first = client.post("/predict", json=body)
        asked = plan.calls
        again = client.post("/predict", json=body)
        assert again.json() == first.json() == {"predictions": trained.answers[:10]}
        assert plan.calls == asked, "nobody was asked again"
        assert looked(client, "prediction") == (10.0, 10.0)
        mixed = client.post("/predict", json={"instances": trained.rows[5:15].tolist()})
        assert mixed.json()["predictions"] == trained.answers[5:15]
        assert looked(client, "prediction") == (15.0, 15.0)
        workshop.graph({"b": node(b)}, "b", revision=2)
        eventually(lambda: client.get("/healthz").json()["models"]["m"] == 2)
        swapped = client.post("/predict", json=body)
        assert swapped.headers["x-maestro-version"] == "1.1.0"
        assert swapped.json()["predictions"] == worse.answers[:10]


@pytest.mark.door
@pytest.mark.shows("G6", "G10", env="laptop")
def test_features_are_remembered_for_their_time_and_a_store_that_is_down_is_asked_no_more(
    workshop: Workshop, trained: Trained
) -> None:
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, marked(trained.contract, "people"))
    workshop.graph({"a": node(version)}, "a")
    store = Store(trained)
    with serving(workshop, features=store, feature_cache_ttl_s=600.0) as client:

        def ask(*patients: int) -> Any:
            return client.post("/predict", json={"entities": [{ENTITY: patient} for patient in patients]})

        assert ask(3, 4, 3).json()["predictions"] == [trained.answers[i] for i in (3, 4, 3)]
        assert ask(4, 5).json()["predictions"] == [trained.answers[i] for i in (4, 5)]
        assert store.asked == [3, 4, 5], "each is looked up once"
        assert looked(client, "feature") == (1.0, 3.0)
        store.down = True
        answers = [ask(100 + number) for number in range(20)]
        assert {each.status_code for each in answers} == {503}
        assert "RuntimeError" in answers[0].json()["detail"]
        assert "too often" in answers[-1].json()["detail"]
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert ask(3).json()["predictions"] == [trained.answers[3]], "what is remembered is given all the same"
        assert 'maestro_breaker_state{model="feature store"} 2.0' in client.get("/metrics").text
    assert ServingSettings().feature_timeout_s <= 2.0


@pytest.mark.door
def test_a_feature_that_the_service_has_lost_is_not_taken_for_a_missing_value(
    workshop: Workshop, trained: Trained
) -> None:
    contract = marked(trained.contract, "people")
    optional = [feature.model_copy(update={"nullable": True}) for feature in contract.features]
    version = workshop.register(
        "1.0.0", {"model.onnx": trained.onnx}, contract.model_copy(update={"features": tuple(optional)})
    )
    workshop.graph({"a": node(version)}, "a")
    store = Store(trained)
    with serving(workshop, features=store) as client:
        assert client.post("/predict", json={"entities": [{ENTITY: 3}]}).status_code == 200
        store.lacking = contract.names[1]
        refused = client.post("/predict", json={"entities": [{ENTITY: 4}]})
        assert (refused.status_code, refused.json()["component"]) == (503, "feature store")
        assert repr(contract.names[1]) in refused.json()["detail"]


@pytest.mark.door
@pytest.mark.shows("G10", env="laptop")
def test_a_model_that_keeps_failing_is_not_asked_until_it_had_time_to_recover(
    workshop: Workshop, trained: Trained
) -> None:
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, marked(trained.contract, "bad"))
    workshop.graph({"a": node(version)}, "a")
    plan = Faulty({"bad": "fail"})
    body = {"instances": trained.rows[:1].tolist()}
    with serving(workshop, runtimes=plan) as client:
        answers = [client.post("/predict", json=body) for _ in range(30)]
        assert {each.status_code for each in answers} == {503}
        assert "failed too often" in answers[-1].json()["detail"]
        asked = plan.calls
        assert asked < 30
        assert 'maestro_breaker_state{model="m"} 2.0' in client.get("/metrics").text
        plan.victims.clear()
        for misbehaving in [client.server.plane.graphs["m"].versions["a"].runtime]:
            misbehaving.how = "slow"  # type: ignore[attr-defined]  # it has recovered
        time.sleep(2.1)
        assert client.post("/predict", json=body).json()["predictions"] == trained.answers[:1]
        assert 'maestro_breaker_state{model="m"} 0.0' in client.get("/metrics").text
