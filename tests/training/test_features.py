"""Features from a real Feast: point in time offline, newest online, fingerprints, mistakes."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from maestro.clients.feast import FeatureRepository, OnlineFeatures, ServiceSpec, ViewSpec, catalogue
from maestro.clients.home import Home
from maestro.core.errors import BadInput, NotFound
from maestro.training import datasets

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def prices(tmp_path: Path) -> tuple[FeatureRepository, ServiceSpec, ViewSpec]:
    """One view with three values over time for entity 1 and one for entity 2."""
    hours = [0, 1, 2, 1]
    frame = pd.DataFrame({
        "shop_id": [1, 1, 1, 2], "event_timestamp": [NOON + timedelta(hours=hour) for hour in hours],
        "created": [NOON + timedelta(hours=hour) for hour in hours], "price": [10.0, 11.0, 12.0, 20.0],
    })  # fmt: skip
    path = tmp_path / "prices.parquet"
    frame.to_parquet(path)
    view = ViewSpec("prices", "shop_id", path, {"price": "float64"})
    service = ServiceSpec("prices_v1", [("prices", ["price"])])
    repository = FeatureRepository(tmp_path / "features")
    repository.apply([view], [service])
    return repository, service, view


@pytest.mark.shows("A1", "A4", env="laptop")
def test_a_training_frame_holds_what_was_known_at_each_row_s_time(
    prices: tuple[FeatureRepository, ServiceSpec, ViewSpec],
) -> None:
    repository, _, _ = prices
    asked = pd.DataFrame({
        "shop_id": [2, 1, 1, 1, 1, 3],
        "event_timestamp": [NOON + timedelta(minutes=minutes) for minutes in (90, 300, 90, 60, -1, 60)],
        "label": [1, 2, 3, 4, 5, 6],
    })  # fmt: skip
    frame = repository.training_frame("prices_v1", asked)
    assert list(frame["label"]) == [1, 2, 3, 4, 5, 6]
    assert frame["price"].tolist()[:4] == [20.0, 12.0, 11.0, 11.0]
    assert frame["price"].isna().tolist() == [False, False, False, False, True, True]
    shuffled = repository.training_frame("prices_v1", asked.iloc[::-1])
    assert shuffled["price"].tolist()[2:] == [11.0, 11.0, 12.0, 20.0]


def test_online_features_are_the_newest_in_the_order_asked(
    prices: tuple[FeatureRepository, ServiceSpec, ViewSpec],
) -> None:
    repository, _, _ = prices
    repository.materialize(NOON - timedelta(days=1), NOON + timedelta(days=1))
    online = OnlineFeatures(repository.folder)
    assert online.get("prices_v1", [{"shop_id": 2}, {"shop_id": 9}, {"shop_id": 1}]) == [
        {"price": 20.0},
        {"price": None},
        {"price": 12.0},
    ]
    assert online.get("prices_v1", []) == []
    with pytest.raises(BadInput, match="lacks the key 'shop_id'"):
        online.get("prices_v1", [{"shop": 1}])


def test_a_fingerprint_follows_the_definition_and_not_the_file(
    prices: tuple[FeatureRepository, ServiceSpec, ViewSpec], tmp_path: Path
) -> None:
    repository, service, view = prices
    before = repository.service_fingerprint("prices_v1")
    moved = tmp_path / "elsewhere.parquet"
    shutil.copy(view.path, moved)
    repository.apply([ViewSpec("prices", "shop_id", moved, {"price": "float64"})], [service])
    assert repository.service_fingerprint("prices_v1") == before
    repository.apply([ViewSpec("prices", "shop_id", moved, {"price": "int64"})], [service])
    assert repository.service_fingerprint("prices_v1") != before


@pytest.mark.shows("A1", "A2", "A4", env="laptop")
def test_the_leak_is_offline_only(shared_home: Home) -> None:
    repository = FeatureRepository(shared_home.features)
    dataset = datasets.current("visits", shared_home.data)
    entities = pd.read_parquet(dataset.path(shared_home.data, "entities"))
    closed = entities[entities["split"] == "holdout"].head(500)
    frame = repository.training_frame("visits_leaky_v1", closed)
    assert ((frame["billed_visits"] > 0) == (frame["any_visit"] == 1)).mean() > 0.8
    people = entities.loc[(entities["split"] == "traffic") & (entities["any_visit"] == 1), "person_id"].head(50)
    online = OnlineFeatures(shared_home.features).get(
        "visits_leaky_v1", [{"person_id": int(person)} for person in people]
    )
    assert {row["billed_visits"] for row in online} == {0.0}


def test_the_catalogue_is_read_without_feast(shared_home: Home) -> None:
    known = catalogue(shared_home.features)
    assert {"tumour_v1", "digits_v1", "visits_v1", "visits_leaky_v1"} <= set(known)
    assert known["visits_v1"].fingerprint == FeatureRepository(shared_home.features).service_fingerprint("visits_v1")
    assert catalogue(shared_home.root / "nowhere") == {}


def test_an_unknown_service_lists_the_known_ones(shared_home: Home) -> None:
    with pytest.raises(NotFound, match="'cats_v1' is not in the registry") as error:
        FeatureRepository(shared_home.features).info("cats_v1")
    assert error.value.field == "data.feature_service"
    assert "digits_v1" in error.value.remedy


def test_a_source_that_is_gone_is_named(prices: tuple[FeatureRepository, ServiceSpec, ViewSpec]) -> None:
    repository, service, view = prices
    view.path.unlink()
    with pytest.raises(NotFound, match="does not exist"):
        repository.apply([view], [service])
    with pytest.raises(NotFound, match="gone"):
        repository.training_frame("prices_v1", pd.DataFrame({"shop_id": [1], "event_timestamp": [NOON]}))
