"""Reading exposures: the first of each unit, joined; and files that are not what they should be."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maestro.ab_testing.exposures import Exposures, read_exposures, write_exposures
from maestro.core.errors import BadInput, Malformed, NotFound
from maestro.core.exposure import COLUMNS
from tests.ab_testing.exposure_files import START, Truth, write_files


def _rows(**changes: list[Any]) -> dict[str, list[Any]]:
    base: dict[str, list[Any]] = {
        "at": [START + timedelta(seconds=s) for s in (3, 1, 2, 4)],
        "experiment": ["e"] * 4,
        "unit": ["a", "a", "b", "c"],
        "arm": ["new", "old", "new", "other"],
        "version": ["1"] * 4,
        "revision": [2, 1, 1, 2],
        "propensity": [0.5] * 4,
        "outcome_latency_s": [0.3, 0.1, 0.2, 0.4],
        "error": [True, False, False, False],
        "reward_id": ["r3", "r1", "r2", "r4"],
    }
    return base | changes


def _read(path: Path, **options: Any) -> Exposures:
    return read_exposures([path], experiment="e", champion="old", challenger="new", **options)


@pytest.mark.shows("H6", env="laptop")
def test_the_first_exposure_of_a_unit_counts(tmp_path: Path) -> None:
    write_exposures(tmp_path / "e.parquet", _rows())
    data = _read(tmp_path / "e.parquet")
    assert data.challenger.tolist() == [False, True]  # a's first was the champion
    assert data.latency_s.tolist() == [0.1, 0.2]
    assert (data.crossed, data.other_arms, data.units) == (1, 1, 2)
    assert np.isnan(data.reward).all()


def test_rows_and_files_in_any_order_are_the_same_data(tmp_path: Path) -> None:
    rows = _rows()
    write_exposures(tmp_path / "one.parquet", {k: v[:2] for k, v in rows.items()})
    write_exposures(tmp_path / "two.parquet", {k: v[2:] for k, v in rows.items()})
    paths = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    options = {"experiment": "e", "champion": "old", "challenger": "new"}
    forward, backward = read_exposures(paths, **options), read_exposures(paths[::-1], **options)  # type: ignore[arg-type]
    assert forward.latency_s.tolist() == backward.latency_s.tolist()
    assert forward.digest == backward.digest


def test_times_as_text_are_read_too(tmp_path: Path) -> None:
    write_exposures(tmp_path / "e.parquet", _rows(at=[f"2026-01-01T00:00:0{s}.000Z" for s in (3, 1, 2, 4)]))
    assert _read(tmp_path / "e.parquet").at_s.tolist() == [START.timestamp() + 1, START.timestamp() + 2]


def test_the_columns_are_the_shared_ones(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    files = write_files(tmp_path, Truth(units=10))
    assert tuple(pq.read_schema(files.exposures).names) == COLUMNS
    with pytest.raises(BadInput, match="colour"):
        write_exposures(tmp_path / "e.parquet", {"colour": ["red"]})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"outcome_latency_s": [0.1, -1.0, 0.1, 0.1]}, "outcome_latency_s"),
        ({"outcome_latency_s": [0.1, float("nan"), 0.1, 0.1]}, "outcome_latency_s"),
        ({"at": ["x", "y", "z", "w"]}, "at"),
        ({"experiment": ["f"] * 4}, "experiment"),
        ({"revision": ["x"] * 4}, "revision"),
    ],
)
def test_bad_values_name_the_column(tmp_path: Path, changes: dict[str, list[Any]], field: str) -> None:
    write_exposures(tmp_path / "e.parquet", _rows(**changes))
    with pytest.raises(BadInput) as caught:
        _read(tmp_path / "e.parquet")
    assert caught.value.field == field
    assert caught.value.remedy


def test_files_that_are_missing_or_not_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pytest.raises(NotFound):
        _read(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(Malformed):
        _read(tmp_path / "text.parquet")
    pq.write_table(pa.table({"at": [1]}), tmp_path / "narrow.parquet")
    with pytest.raises(BadInput, match="lacks column experiment"):
        _read(tmp_path / "narrow.parquet")
    with pytest.raises(BadInput):
        read_exposures([], experiment="e", champion="old", challenger="new")
