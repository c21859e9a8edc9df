"""What every source of features owes, shown on each over the same real repository; and the model server before a real feature server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from maestro.clients.feast import FeatureRepository, ServiceSpec, ViewSpec
from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, NotFound
from maestro.serving.feature_sources import FeatureSource, LazyFeatures, ServedFeatures
from tests.serving.conftest import ENTITY, Process, Trained, Workshop, eventually, free_port, node
from tests.serving.feature_sources.feast_process import FeastProcess, feast_process

pytestmark = [pytest.mark.e2e, pytest.mark.door, pytest.mark.timeout(300)]

DAY = datetime(2026, 1, 1, tzinfo=UTC)
SERVICE = "tumour_v1"
PEOPLE = 150


@pytest.fixture(scope="module")
def known(trained: Trained) -> pd.DataFrame:
    """Features of people by id; one has a value that is missing, and all have a word."""
    names = list(trained.contract.names)
    frame = pd.DataFrame(trained.rows[:PEOPLE], columns=names).assign(
        **{ENTITY: range(PEOPLE)}, event_timestamp=DAY, created=DAY, word=[f"w{one}" for one in range(PEOPLE)]
    )
    frame.loc[1, names[0]] = np.nan
    return frame


@pytest.fixture(scope="module")
def repository(known: pd.DataFrame, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> FeatureRepository:
    folder = tmp_path_factory.mktemp("features")
    known.to_parquet(folder / "people.parquet")
    found = FeatureRepository(folder)
    names = trained.contract.names
    kinds = dict.fromkeys(names, "float64") | {"word": "string"}
    found.apply(
        [ViewSpec("people", ENTITY, folder / "people.parquet", kinds)],
        [ServiceSpec(SERVICE, [("people", names)]), ServiceSpec("words_v1", [("people", (names[0], "word"))])],
    )
    found.materialize(datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    return found


@pytest.fixture(scope="module")
def server(repository: FeatureRepository) -> Iterator[FeastProcess]:
    with feast_process(repository.folder, free_port()) as found:
        yield found


@pytest.fixture(params=["repository", "feature server"])
def source(
    request: pytest.FixtureRequest, repository: FeatureRepository, server: FeastProcess
) -> Iterator[FeatureSource]:
    one = LazyFeatures(repository.folder) if request.param == "repository" else ServedFeatures(server.url, 10.0)
    yield one
    one.close()


@pytest.mark.shows("A1", "A4", env="laptop")
def test_one_row_an_entity_in_order_and_none_for_what_is_not_there(source: FeatureSource, trained: Trained) -> None:
    source.open(SERVICE)
    names = trained.contract.names
    found = source.get(SERVICE, [{ENTITY: person} for person in (3, 0, 9_999, 3)])
    assert found[:2] == [dict(zip(names, trained.rows[person].tolist(), strict=True)) for person in (3, 0)]
    assert found[2] == dict.fromkeys(names)
    assert found[3] == found[0]


def test_what_is_missing_and_what_is_text(source: FeatureSource, trained: Trained) -> None:
    first = trained.contract.names[0]
    found: list[Any] = [*source.get("words_v1", [{ENTITY: 1}, {ENTITY: 2}])]
    one, other = found
    assert one["word"] == "w1"
    assert one[first] is None or np.isnan(one[first])
    assert other == {first: trained.rows[2][0], "word": "w2"}


@pytest.mark.parametrize("wrong", ["abc", 10**30])
def test_what_can_be_no_key_is_the_requests_fault(source: FeatureSource, wrong: Any) -> None:
    with pytest.raises(BadInput) as refused:
        source.get(SERVICE, [{ENTITY: 1}, {ENTITY: wrong}])
    assert refused.value.field == "entities"


def test_a_service_that_is_unknown(source: FeatureSource) -> None:
    with pytest.raises(NotFound, match="nothing_v1"):
        source.get("nothing_v1", [{ENTITY: 1}])


@pytest.fixture
def model(workshop: Workshop, repository: FeatureRepository, trained: Trained) -> Workshop:
    """A version that names its feature service; its home has no repository."""
    service = {"name": SERVICE, "fingerprint": repository.service_fingerprint(SERVICE)}
    contract = ModelContract.model_validate(trained.contract.document() | {"feature_service": service})
    workshop.graph({"a": node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, contract))}, "a")
    return workshop


@pytest.mark.shows("A4", "G6", "G10", env="laptop")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_server_looks_up_at_the_feature_server(
    model: Workshop, server: FeastProcess, trained: Trained, spawn: Callable[..., Process], workers: str
) -> None:
    process = spawn(
        MAESTRO_SERVING__FEATURE_SERVER=server.url,
        MAESTRO_SERVING__FEATURE_CACHE_TTL_S="0.5",
        MAESTRO_SERVING__WORKERS=workers,
    ).wait_ready()

    def ask(client: httpx.Client, *people: Any) -> httpx.Response:
        return client.post("/predict", json={"entities": [{ENTITY: person} for person in people]})

    people = [person for person in range(PEOPLE) if person != 1]
    with httpx.Client(base_url=process.url, trust_env=False, timeout=20) as client:
        assert ask(client, 2, 0, 3).json() == {"predictions": [trained.answers[one] for one in (2, 0, 3)]}
        assert ask(client, "4").json() == {"predictions": [trained.answers[4]]}
        unknown = ask(client, 9_999)
        assert (unknown.status_code, unknown.json()["field"]) == (404, "entities[0]")

        def one(person: int) -> tuple[int, float]:
            began = time.perf_counter()
            # one in ten asks for what can be no key: whoever waits beside it does not notice
            answer = ask(client, f"person {person}" if person % 10 == 5 else person)
            took = time.perf_counter() - began
            if person % 10 == 5:
                assert answer.status_code == 422, answer.text
                assert answer.json()["field"] == "entities"
            else:
                assert answer.json() == {"predictions": [trained.answers[person]]}
            return answer.status_code, took

        with ThreadPoolExecutor(16) as callers:
            told = list(callers.map(one, people * 3))
        print(json.dumps({"workers": workers, "median ms": round(1000 * median(took for _, took in told), 1)}))
        server.stop()
        try:
            time.sleep(0.6)  # what is remembered is too old
            refused = ask(client, 20)
            assert (refused.status_code, refused.json()["component"]) == (503, "feature store")
            # ten seconds of good answers weigh against the first failures
            eventually(lambda: "too often" in ask(client, 20).json()["detail"], timeout_s=20)
            assert client.post("/predict", json={"instances": trained.rows[:1].tolist()}).status_code == 200
            assert 'maestro_breaker_state{model="feature store"} 2.0' in client.get("/metrics").text
        finally:
            server.start()
        eventually(lambda: ask(client, 20).status_code == 200, timeout_s=60)
        eventually(lambda: 'model="feature store"} 0.0' in _breakers(client, ask), timeout_s=60)


def _breakers(client: httpx.Client, ask: Callable[..., httpx.Response]) -> str:
    ask(client, 21)
    return client.get("/metrics").text


@pytest.mark.shows("G10", env="laptop")
def test_a_feature_server_that_is_away_at_the_start_delays_nothing(
    model: Workshop, trained: Trained, spawn: Callable[..., Process], tmp_path: Path
) -> None:
    process = spawn(MAESTRO_SERVING__FEATURE_SERVER=f"http://127.0.0.1:{free_port()}").wait_ready(20)
    with httpx.Client(base_url=process.url, trust_env=False, timeout=20) as client:
        refused = client.post("/predict", json={"entities": [{ENTITY: 1}]})
        assert (refused.status_code, refused.json()["component"]) == (503, "feature store")
        rows = client.post("/predict", json={"instances": trained.rows[:2].tolist()})
        assert rows.json() == {"predictions": trained.answers[:2]}
