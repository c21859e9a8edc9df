"""Payloads kept for drift: so many a second, so many bytes, and nothing that the contract calls personal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from maestro.core.clock import ManualClock
from maestro.core.contract import Feature, ModelContract, Output
from maestro.serving.payloads import PayloadLog
from maestro.serving.sampling import Sample
from maestro.serving.table import Batch
from tests.serving.conftest import ENTITY, Serve, Trained, Workshop, node


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/*.parquet"))


@pytest.mark.door
def test_rows_and_answers_are_kept_without_what_is_personal(workshop: Workshop, trained: Trained, serve: Serve) -> None:
    document = trained.contract.document()
    document["features"][1]["pii"] = True
    contract = ModelContract.build(
        tuple(Feature.model_validate(feature) for feature in document["features"]),
        trained.contract.output,
        entity_keys=(ENTITY,),
    )
    workshop.graph({"a": node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, contract))}, "a")
    client = serve(payload_rows_per_s=1000.0)
    secret = 123.456
    rows = trained.rows[:30].copy()
    rows[:, 1] = secret
    for start in range(0, 30, 10):
        body = {"instances": rows[start : start + 10].tolist()}
        answer = client.post("/predict", json=body, headers={"x-maestro-unit": "somebody-7"})
        assert answer.status_code == 200
    # What is refused has no answer, and is not kept.
    assert client.post("/predict", json={"instances": [[1, 2]]}).status_code == 422
    client.stop()
    (path,) = files(workshop.home.payloads)
    assert path.parent == workshop.home.payloads / "m" / "1.0.0"
    table = pq.read_table(path).to_pydict()
    assert list(table) == ["x0", "x2", "x3", "at", "arm", "revision", "prediction", "score"]
    for name, position in (("x0", 0), ("x2", 2), ("x3", 3)):
        assert table[name] == rows[:, position].tolist()
    assert table["prediction"] == trained.model.predict(rows).tolist()
    assert np.allclose(table["score"], trained.model.predict_proba(rows)[:, 1], atol=1e-5)
    assert set(table["arm"]) == {"a"}
    data = path.read_bytes()
    assert b"somebody-7" not in data
    assert np.float64(secret).tobytes() not in data
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.door
def test_nothing_is_kept_unless_asked_for(workshop: Workshop, trained: Trained, serve: Serve) -> None:
    workshop.graph({"a": node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract))}, "a")
    client = serve()
    assert client.post("/predict", json={"instances": trained.rows[:5].tolist()}).status_code == 200
    client.stop()
    assert not workshop.home.payloads.exists()


CONTRACT = ModelContract.build(
    (Feature(name="city", type="string"), Feature(name="score"), Feature(name="age", nullable=True)),
    Output(kind="regression"),
)


def sample(rows: int, value: float = 1.0) -> Sample:
    columns = (
        np.array(["x" * 1000] * rows, dtype=object),
        np.full(rows, value),
        np.full(rows, np.nan),
    )
    types = tuple(feature.type for feature in CONTRACT.features)
    batch = Batch(CONTRACT.names, types, rows, None, columns)
    return Sample("m", "a", "1.0.0", 1, CONTRACT, batch, [0.5] * rows, None)


def test_the_rate_the_queue_and_the_folder_are_bounded(tmp_path: Path) -> None:
    at = [0.0]
    log = PayloadLog(tmp_path, ManualClock(), rows_per_s=5.0, max_bytes=20_000, flush_s=3600, now=lambda: at[0])
    try:
        for _ in range(100):
            log.offer(sample(10))
        log.flush()
        (first,) = files(tmp_path)
        kept = pq.read_table(first).to_pydict()
        assert len(kept["city"]) == 50, "ten seconds of its rate at once"
        assert set(map(len, kept["city"])) == {256}, "a text is cut"
        assert kept["age"] == [None] * 50
        assert "maestro_score" not in kept
        assert kept["prediction"] == [0.5] * 50
        for turn in range(40):
            at[0] += 10.0
            log.offer(sample(50, value=float(turn)))
            log.flush()
        there = files(tmp_path)
        assert sum(path.stat().st_size for path in there) <= 20_000
        assert len(there) >= 2
        assert first not in there, "the oldest went first"
        assert pq.read_table(there[-1]).to_pydict()["score"][0] == 39.0
        assert log.dropped == 0
    finally:
        log.close()


def test_what_cannot_be_written_is_counted(tmp_path: Path) -> None:
    blocked = tmp_path / "payloads"
    blocked.write_text(json.dumps("a file where the folder should be"))
    log = PayloadLog(blocked, ManualClock(), rows_per_s=100.0, max_bytes=1, flush_s=3600)
    log.offer(sample(3))
    log.flush()
    assert log.dropped == 3
    log.close()
