"""Versioned data sets: repeatable, honest about their splits, and telling the story of the leak."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from maestro.clients.home import Home
from maestro.core.errors import BadInput, Malformed, NotFound
from maestro.training import datasets


def test_the_same_data_written_twice_are_one_version(tmp_path: Path) -> None:
    first = datasets.write("digits", tmp_path)
    stamp = first.path(tmp_path, "pixels").stat().st_mtime_ns
    assert datasets.write("digits", tmp_path) == first
    assert first.path(tmp_path, "pixels").stat().st_mtime_ns == stamp
    assert datasets.current("digits", tmp_path) == first


@pytest.mark.shows("A3", env="laptop")
def test_a_changed_value_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = datasets.write("digits", tmp_path)

    def changed() -> object:
        parts = datasets.digits()
        table = parts.features["pixels"]
        table["pixel_1_2"] = table["pixel_1_2"] + 1.0
        return parts

    monkeypatch.setitem(datasets.BUILDERS, "digits", changed)
    after = datasets.write("digits", tmp_path)
    assert after.version != before.version
    assert before.path(tmp_path, "pixels").exists()
    assert datasets.current("digits", tmp_path).version == after.version


def test_traffic_is_later_than_everything_trained_on(shared_home: Home) -> None:
    for name in datasets.BUILDERS:
        dataset = datasets.current(name, shared_home.data)
        entities = datasets.read_parquet(dataset.path(shared_home.data, "entities"), "entities")
        assert set(entities["split"]) == {"train", "holdout", "traffic"}
        assert entities[dataset.entity].is_unique
        traffic = entities["split"] == "traffic"
        assert entities.loc[traffic, "event_timestamp"].min() > entities.loc[~traffic, "event_timestamp"].max()


def test_nobody_with_the_same_record_is_on_two_sides(shared_home: Home) -> None:
    dataset = datasets.current("visits", shared_home.data)
    entities = pd.read_parquet(dataset.path(shared_home.data, "entities"))
    coverage = pd.read_parquet(dataset.path(shared_home.data, "coverage"))
    columns = [column for column in coverage.columns if column not in {"person_id", "event_timestamp", "created"}]
    assert (coverage.assign(split=entities["split"]).groupby(columns)["split"].nunique() == 1).all()


def test_bills_are_recorded_before_they_could_be_known(shared_home: Home) -> None:
    dataset = datasets.current("visits", shared_home.data)
    billing = pd.read_parquet(dataset.path(shared_home.data, "billing"))
    entities = pd.read_parquet(dataset.path(shared_home.data, "entities"))
    billed = billing[billing["billed_visits"] > 0]
    assert (billed["created"] - billed["event_timestamp"]).min() > pd.Timedelta(days=50)
    traffic = set(entities.loc[entities["split"] == "traffic", "person_id"])
    assert not traffic & set(billed["person_id"])


def test_mistakes_name_the_file_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="'cats' is not known") as unknown:
        datasets.write("cats", tmp_path)
    assert "tumour" in unknown.value.remedy
    with pytest.raises(NotFound, match="has not been written"):
        datasets.current("digits", tmp_path)
    text = tmp_path / "a.parquet"
    text.write_text("a,b\n1,2\n")
    with pytest.raises(Malformed, match="is not a Parquet file") as broken:
        datasets.read_parquet(text, "data.entities")
    assert broken.value.field == "data.entities"
    with pytest.raises(BadInput, match="no column 'x'"):
        datasets.require_columns(pd.DataFrame({"a": [1]}), ["x"], "a.parquet", "data.target")
