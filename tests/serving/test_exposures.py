"""First exposures as Parquet: what is recorded, once, whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from maestro.core.clock import ManualClock
from maestro.core.contract import Feature, ModelContract, Output
from maestro.core.exposure import COLUMNS, Exposure
from maestro.serving.exposures import ExposureLog
from maestro.serving.graph._base import Observation, Unit
from maestro.serving.table import Batch, Prediction
from maestro.serving.units import UnitHasher

CONTRACT = ModelContract.build(
    (Feature(name="size"), Feature(name="income", pii=True), Feature(name="colour", type="string")),
    Output(kind="classification", classes=("0", "1")),
)


def seen(
    unit: str | None, *, arm: str = "a", revision: int = 1, experiment: str | None = "e", ok: bool = True
) -> Observation:
    columns = (np.array([1.5]), np.array([9.0]), np.array(["red"], dtype=object))
    return Observation(
        arm=arm,
        version="1.0.0",
        revision=revision,
        experiment=experiment,
        propensity=0.25,
        key="user",
        units=(Unit(None, () if unit is None else (("user", unit),)),),
        prediction=Prediction([1]) if ok else None,
        batch=Batch(CONTRACT.names, ("float64", "float64", "string"), 1, None, columns) if ok else None,
        contract=CONTRACT,
        latency_s=0.002,
        outcome="ok" if ok else "error",
    )


def make(home: Path, clock: ManualClock, limit: int = 100) -> ExposureLog:
    log = ExposureLog(home, UnitHasher(home / "units.json", clock), clock, limit=limit, flush_s=3600)
    log.open("m", 1)
    return log


def read(home: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(home.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_a_record_has_the_columns_of_the_format_and_names_nobody(home: Path, clock: ManualClock) -> None:
    log = make(home, clock)
    log.observe("m", seen("ada"))
    log.observe("m", seen("bob", ok=False))
    log.close()
    (path,) = home.rglob("*.parquet")
    assert tuple(pq.read_schema(path).names) == COLUMNS
    first, second = (Exposure.model_validate(row) for row in read(home))
    assert (first.experiment, first.arm, first.version, first.revision) == ("e", "a", "1.0.0", 1)
    assert first.at == clock.now()
    assert first.propensity == 0.25
    assert first.context == (1.5,)  # neither personal data nor text
    assert (first.error, second.error, second.context) == (False, True, None)
    assert first.reward_id != second.reward_id
    assert b"ada" not in path.read_bytes()


def test_only_the_first_exposure_of_a_unit_is_recorded_for_a_revision(home: Path, clock: ManualClock) -> None:
    log = make(home, clock)
    for _ in range(3):
        log.observe("m", seen("ada"))
    log.open("m", 2)
    for _ in range(3):
        log.observe("m", seen("ada", revision=2))
    log.close()
    assert [row["revision"] for row in read(home)] == [1, 2]


def test_a_unit_is_not_recorded_again_after_a_restart(home: Path, clock: ManualClock) -> None:
    log = make(home, clock)
    log.observe("m", seen("ada"))
    log.flush()
    again = make(home, clock)
    again.observe("m", seen("ada"))
    again.observe("m", seen("bob"))
    again.close()
    assert len(read(home)) == 2


def test_what_was_read_in_a_thread_is_not_read_again(home: Path, clock: ManualClock) -> None:
    log = make(home, clock)
    log.observe("m", seen("ada"))
    log.flush()
    again = ExposureLog(home, UnitHasher(home / "units.json", clock), clock, limit=100, flush_s=3600)
    reading = threading.Thread(target=again.read, args=("m", 1))
    reading.start()
    reading.join()
    for path in home.rglob("*.parquet"):
        path.unlink()
    again.open("m", 1)
    again.observe("m", seen("ada"))
    again.observe("m", seen("bob"))
    again.close()
    assert len(read(home)) == 1, "bob's alone: ada's had been written"


def test_without_an_experiment_nothing_is_recorded(home: Path, clock: ManualClock) -> None:
    log = make(home, clock)
    log.observe("m", seen("ada", experiment=None))
    log.close()
    assert read(home) == []


def test_a_request_that_names_no_unit_is_one_of_its_own(home: Path, clock: ManualClock) -> None:
    log = make(home, clock)
    for _ in range(3):
        log.observe("m", seen(None))
    log.close()
    assert len({row["unit"] for row in read(home)}) == 3


def test_a_full_queue_drops_and_counts(home: Path, clock: ManualClock) -> None:
    log = make(home, clock, limit=5)
    for number in range(8):
        log.observe("m", seen(str(number)))
    assert log.dropped == 3
    log.close()
    assert len(read(home)) == 5


def test_what_cannot_be_written_is_counted_as_dropped(home: Path, clock: ManualClock) -> None:
    log = make(home, clock)
    (home / "m").write_text("a file where the folder should be")
    log.observe("m", seen("ada"))
    log.flush()
    assert log.dropped == 1


def test_a_segment_is_whole_or_not_there(home: Path, clock: ManualClock) -> None:
    folder = home / "m" / "e"
    folder.mkdir(parents=True)
    (folder / "r00000001-dead-000001.parquet").write_bytes(b"PAR1 and nothing more")
    log = make(home, clock)
    log.observe("m", seen("ada"))
    log.close()
    whole = [path for path in folder.iterdir() if "dead" not in path.name]
    assert len(whole) == 1
    assert pq.read_metadata(whole[0]).num_rows == 1
    assert not [name for name in os.listdir(folder) if name.endswith(".partial")]


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 100])
def test_any_number_of_rows_is_read_back(home: Path, clock: ManualClock, rows: int) -> None:
    log = make(home, clock, limit=1000)
    for number in range(rows):
        log.observe("m", seen(f"ünit-{number}", ok=number % 3 != 0))
    log.close()
    found = read(home)
    assert [row["error"] for row in found] == [number % 3 == 0 for number in range(rows)]
    assert [row["context"] for row in found] == [None if number % 3 == 0 else [1.5] for number in range(rows)]
