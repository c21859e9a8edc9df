"""`maestro predict` as users run it: right, refused clearly, killed and taken up again, and shared among the pods of a Job."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from maestro.cli.main import main
from maestro.core.settings import settings
from tests.serving.conftest import Trained, Workshop

Predict = Callable[..., dict[str, Any]]
COMMAND = "import sys; from maestro.cli.main import run; sys.argv[0] = 'maestro'; run()"


@pytest.fixture
def predict(
    workshop: Workshop, trained: Trained, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Predict:
    """Runs `maestro predict` for a promoted version and gives its document."""
    workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)

    monkeypatch.setenv("MAESTRO_HOME", str(workshop.home.root))

    def run(*words: object, code: int = 0) -> dict[str, Any]:
        settings.cache_clear()
        given = ["predict", "--model", "m@1.0.0", *map(str, words), "--json"]
        monkeypatch.setattr(sys, "argv", ["maestro", *given])
        capsys.readouterr()
        assert main(given) == code, capsys.readouterr()
        shown: dict[str, Any] = json.loads(capsys.readouterr().out)
        return shown

    return run


def table_of(trained: Trained, rows: int) -> pa.Table:
    """The trained's rows again and again, with a number each."""
    index = np.arange(rows) % len(trained.rows)
    columns = {f"x{i}": trained.rows[index, i] for i in range(trained.rows.shape[1])}
    return pa.table({"id": np.arange(rows)} | columns)


def expected(trained: Trained, rows: int) -> list[int]:
    return [trained.answers[i % len(trained.rows)] for i in range(rows)]


@pytest.mark.shows("G12", env="laptop")
def test_parquet_in_parquet_out_in_the_order_of_the_rows(predict: Predict, trained: Trained, tmp_path: Path) -> None:
    source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(table_of(trained, 5000), source, row_group_size=600)
    shown = predict("--input", source, "--output", output, "--keep", "id", "--scores", "--part-rows", 1000)
    assert shown["rows"] == 5000
    assert shown["complete"]
    found = pq.read_table(output)
    assert found.column_names == ["id", "prediction", "score_0", "score_1"]
    assert found["id"].to_pylist() == list(range(5000))
    assert found["prediction"].to_pylist() == expected(trained, 5000)
    own = trained.model.predict_proba(trained.rows)[:, 1]
    assert np.allclose(found["score_1"].to_numpy()[: len(own)], own, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["in.parquet", "out.parquet"]


def test_csv_and_folders_are_read_too(predict: Predict, trained: Trained, tmp_path: Path) -> None:
    table = table_of(trained, 700)
    pyarrow.csv.write_csv(table, tmp_path / "in.csv")
    predict("--input", tmp_path / "in.csv", "--output", tmp_path / "a.parquet", "--keep", "id", "--processes", 1)
    assert pq.read_table(tmp_path / "a.parquet")["prediction"].to_pylist() == expected(trained, 700)
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(table.slice(0, 300), folder / "a.parquet")
    pq.write_table(table.slice(300), folder / "b.parquet")
    predict("--input", folder, "--output", tmp_path / "b.parquet", "--keep", "id", "--processes", 1)
    assert pq.read_table(tmp_path / "b.parquet").equals(pq.read_table(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        (lambda t: t.drop_columns(["x2"]), "x2", "'x2' is missing"),
        (lambda t: t.append_column("bmi", t["x0"]), "bmi", "'bmi' is no feature"),
        (lambda t: t.set_column(1, "x0", pa.array(["a"] * len(t))), "x0", "'x0' is string, not float64"),
        (lambda t: t.append_column("x1", t["x1"]), "x1", "stands twice"),
    ],
    ids=["missing", "extra", "type", "twice"],
)
def test_columns_that_are_not_the_contracts_are_refused_by_name(
    predict: Predict, trained: Trained, tmp_path: Path, change: Any, field: str, told: str
) -> None:
    pq.write_table(change(table_of(trained, 20)), tmp_path / "in.parquet")
    shown = predict("--input", tmp_path / "in.parquet", "--output", tmp_path / "out.parquet", "--keep", "id", code=2)
    assert shown["field"] == field
    assert told in shown["detail"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "in.parquet"]


def test_a_missing_value_is_refused_with_its_column_and_row(predict: Predict, trained: Trained, tmp_path: Path) -> None:
    table = table_of(trained, 50)
    values = table["x3"].to_numpy().copy()
    values[37] = np.nan
    pq.write_table(table.set_column(4, "x3", pa.array(values)), tmp_path / "in.parquet")
    words = ("--input", tmp_path / "in.parquet", "--output", tmp_path / "out.parquet", "--keep", "id", "--processes", 1)
    shown = predict(*words, code=2)
    assert "row 37: column 'x3' is missing" in shown["detail"]


def test_what_cannot_be_read_or_written_is_told(predict: Predict, trained: Trained, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    (tmp_path / "in.parquet").write_text("hello, I am no Parquet")
    assert "is not Parquet" in predict("--input", tmp_path / "in.parquet", "--output", output, code=2)["detail"]
    assert "does not exist" in predict("--input", tmp_path / "no.parquet", "--output", output, code=2)["detail"]
    (tmp_path / "in.csv").write_text("x0,x1,x2,x3\n1,2,3,4\n1,2,many,4\n")
    assert "'x2'" in predict("--input", tmp_path / "in.csv", "--output", output, code=2)["detail"]
    pq.write_table(table_of(trained, 20).drop_columns(["id"]), tmp_path / "in.parquet")
    output.write_text("mine")
    shown = predict("--input", tmp_path / "in.parquet", "--output", output, code=2)
    assert "--overwrite" in shown["remedy"]
    assert output.read_text() == "mine"
    predict("--input", tmp_path / "in.parquet", "--output", output, "--overwrite", "--processes", 1)
    assert pq.read_table(output)["prediction"].to_pylist() == expected(trained, 20)


def test_a_version_without_promotion_answers_nothing(
    workshop: Workshop, predict: Predict, trained: Trained, tmp_path: Path
) -> None:
    workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract, statement="none")
    pq.write_table(table_of(trained, 20), tmp_path / "in.parquet")
    shown = predict(
        "--model", "m@1.1.0", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out.parquet", code=4
    )
    assert "promotion" in shown["detail"]


@pytest.mark.shows("L6", env="laptop")
def test_killed_again_and_again_it_answers_every_row_exactly_once(
    predict: Predict, workshop: Workshop, trained: Trained, tmp_path: Path
) -> None:
    """As a spot node that is taken away: what is done stays done, and the answers are those of a run that nobody disturbed."""
    source, output, parts = tmp_path / "in.parquet", tmp_path / "out.parquet", tmp_path / "out.parquet.parts"
    pq.write_table(table_of(trained, 60_000), source, row_group_size=200)
    words = ["--model", "m@1.0.0", "--input", str(source), "--output", str(output), "--keep", "id", "--part-rows", "200", "--processes", "1"]  # fmt: skip
    chance = random.Random(os.getpid())
    before = 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "predict", *words],
            env={**os.environ, "MAESTRO_HOME": str(workshop.home.root)}, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wanted = before + chance.randint(3, 60)
        deadline = time.monotonic() + 60
        while len(list(parts.glob("part-*.json"))) < wanted and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        before = len(list(parts.glob("part-*.json")))
        assert not output.exists()
    assert 0 < before < 300
    torn = sorted(parts.glob("part-*.parquet"))[1]  # as after a power cut
    torn.write_bytes(torn.read_bytes()[:-40])
    shown = predict(*words[2:])
    assert shown["rows"] == 60_000
    assert 0 < shown["rows_this_run"] <= 60_000 - (before - 1) * 200
    found = pq.read_table(output)
    assert found["id"].to_pylist() == list(range(60_000))
    assert found["prediction"].to_pylist() == expected(trained, 60_000)
    assert not parts.exists()


@pytest.mark.shows("L6", env="laptop")
def test_the_pods_of_an_indexed_job_answer_disjoint_shares(
    predict: Predict, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = tmp_path / "in.parquet", tmp_path / "answers"
    pq.write_table(table_of(trained, 3000), source, row_group_size=500)
    words = ("--input", source, "--output", output, "--keep", "id", "--part-rows", 500, "--processes", 1)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    second = predict(*words, "--shard", "/2")
    assert (second["rows"], second["complete"]) == (1500, False)
    first = predict(*words, "--shard", "0/2")
    assert (first["rows"], first["complete"]) == (1500, True)
    found = pa.concat_tables([pq.read_table(path) for path in sorted(output.glob("part-*.parquet"))])
    assert found["id"].to_pylist() == list(range(3000))
    assert found["prediction"].to_pylist() == expected(trained, 3000)
    assert predict(*words, "--shard", "/2")["rows_this_run"] == 0
    assert "below n" in predict(*words, "--shard", "2/2", code=2)["detail"]
