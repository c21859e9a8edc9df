"""`monitoring/drift/data-drift-monitor.py` and `maestro drift`, as users run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from maestro.cli.console import invoke
from maestro.cli.drift import app, script_app
from tests.monitoring.drift.conftest import make_table

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "monitoring/drift/data-drift-monitor.py"


def _run(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True, text=True, timeout=110, check=False, cwd=cwd, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.shows("I1", "I2", "I3", "I4", "I6", "I7", env="laptop")
@pytest.mark.door
def test_the_promised_command_finds_the_shift_reports_alerts_and_logs(tmp_path: Path, home: Path) -> None:
    make_table(10_000, 1).to_parquet(tmp_path / "a.parquet")
    make_table(10_000, 3, moved=8).to_parquet(tmp_path / "b.parquet")
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    done = _run(
        "--reference-data", "a.parquet", "--current-data", "b.parquet", "--drift-threshold", "0.05",
        "--alert-threshold", "0.3", "--log-mlflow", "--json", "--report", "report.html", "--notify", "file:alerts.jsonl",
        cwd=tmp_path, MAESTRO_MLFLOW_URL=store,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert result["drift"] is True
    assert result["verdict"]["share"] == pytest.approx(8 / 12)
    assert result["verdict"]["alarm"] == "critical"
    by_name = {each["column"]: each for each in result["verdict"]["columns"]}
    assert {each["test"] for each in by_name.values()} == {"ks", "chi2"}
    assert by_name["x0"]["psi"] > 0.2 > by_name["x9"]["psi"]

    alerts = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert alerts[0]["severity"] == "critical"
    assert {alert["source"] for alert in alerts[1:]} == {f"drift/b/x{i}" for i in range(8)}

    page = (tmp_path / "report.html").read_text()
    assert "8 of 12 columns drift" in page
    assert "Data Drift" in page or "drift" in page.lower()
    assert len(page) > 1_000_000

    with warnings.catch_warnings():
        # MLflow's SQL store warns about its own queries.
        warnings.simplefilter("ignore")
        _check_mlflow(store, result)


def _check_mlflow(store: str, result: dict[str, Any]) -> None:
    import mlflow

    run = mlflow.MlflowClient(store).get_run(result["mlflow_run_id"])
    assert run.data.metrics["drift_share"] == pytest.approx(8 / 12)
    assert run.data.metrics["effect/x0"] == pytest.approx(result["verdict"]["columns"][0]["effect"])
    assert run.data.params["drift_threshold"] == "0.05"
    assert run.info.status == "FINISHED"
    files = {item.path for item in mlflow.MlflowClient(store).list_artifacts(result["mlflow_run_id"])}
    assert files == {"drift.json", "report.html"}


@pytest.mark.shows("I2", "I4", env="laptop")
@pytest.mark.door
def test_the_unshifted_control_is_silent(tables: Path, home: Path) -> None:
    done = _run("--reference-data", "reference.parquet", "--current-data", "clean.parquet", "--no-html", cwd=tables)
    assert done.returncode == 0, done.stderr
    assert "no drift: 0 of 12 columns" in done.stdout
    assert "alert" not in done.stdout


@pytest.mark.shows("A6", env="laptop")
@pytest.mark.door
def test_the_reference_can_come_from_feast(tmp_path: Path, home: Path) -> None:
    from maestro.clients.feast import FeatureRepository, ServiceSpec, ViewSpec

    rng = np.random.default_rng(1)
    when = datetime(2026, 1, 1, tzinfo=UTC)
    features = pd.DataFrame(
        {"person_id": np.arange(2000), "visits": rng.normal(5, 2, 2000), "event_timestamp": when, "created": when}
    )
    source = tmp_path / "visits.parquet"
    features.to_parquet(source)
    view = ViewSpec(name="visits", entity="person_id", path=source, columns={"visits": "float64"})
    FeatureRepository(home / "features").apply(
        [view], [ServiceSpec(name="health_v1", features=[("visits", ["visits"])])]
    )
    asked = features[["person_id"]].assign(event_timestamp=datetime(2026, 2, 1, tzinfo=UTC))
    asked.to_parquet(tmp_path / "entities.parquet")
    pd.DataFrame({"visits": rng.normal(7, 2, 2000)}).to_parquet(tmp_path / "now.parquet")
    done = _run(
        "--reference-service", "health_v1", "--reference-entities", "entities.parquet", "--current-data", "now.parquet",
        "--no-html", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert result["reference"] == "feature service health_v1"
    assert result["verdict"]["drifted"] == ["visits"]


def test_without_the_package_the_script_says_how_to_get_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-I", str(SCRIPT)], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=30
    )
    assert done.returncode == 2
    assert "make setup" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Files that are wrong in one way each."""
    (tmp_path / "not.parquet").write_text("this is no Parquet")
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "empty.csv").write_text("")
    make_table(300, 1).head(0).to_parquet(tmp_path / "norows.parquet")
    make_table(300, 1).assign(x2=np.nan).to_parquet(tmp_path / "nan.parquet")
    make_table(300, 1).drop(columns="x1").to_parquet(tmp_path / "lacks.parquet")
    make_table(300, 1)[["account"]].rename(columns={"account": "other"}).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "broken.json").write_text('{"schema": "maestro.drift-reference/1"}')
    (tmp_path / "good.txt").write_text("x\n1\n")
    return tmp_path


@pytest.mark.shows("A11", env="laptop")
@pytest.mark.door
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--current-data", "not.parquet"], ["--current-data", "not.parquet", "cannot be read as Parquet", "write it again"]),
        (["--current-data", "empty.parquet"], ["--current-data", "cannot be read as Parquet"]),
        (["--current-data", "empty.csv"], ["--current-data", "cannot be read as CSV"]),
        (["--current-data", "norows.parquet"], ["--current-data", "holds no rows", "at least one row"]),
        (["--current-data", "absent.parquet"], ["--current-data", "absent.parquet does not exist"]),
        (["--current-data", "good.txt"], ["--current-data", ".parquet, .pq or .csv"]),
        (["--current-data", "nan.parquet"], ["column x2 has no value in current data"]),
        (["--current-data", "lacks.parquet"], ["column x1 is not in the current data", "columns that both files have"]),
        (["--current-data", "other.parquet"], ["column x0 is not in the current data"]),
        (["--columns", "x0,y7"], ["column y7 is not in the reference", "the reference has: x0"]),
        (["--columns", "seen"], ["column seen cannot be watched", "leave it out"]),
        (["--target-column", "y7"], ["column y7 is not in the reference"]),
        (["--categorical", "y7"], ["column y7 is not in the reference"]),
        (["--drift-threshold", "5"], ["--drift-threshold is 5", "such as 0.05"]),
        (["--drift-threshold", "five"], ["--drift-threshold", "valid number"]),
        (["--alert-threshold", "-1"], ["--alert-threshold is -1"]),
        (["--material", "1"], ["--material is 1"]),
        (["--reference-data", "broken.json"], ["--reference-data", "broken.json", "maestro drift profile"]),
        (["--reference-service", "s"], ["give one reference"]),
        (["--notify", "carrier-pigeon"], ["carrier-pigeon", "slack"]),
        (["--dataset", "a b"], ["--dataset"]),
    ],
)  # fmt: skip
def test_bad_input_names_the_field_and_the_remedy(
    bad: Path,
    tables: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: list[str],
) -> None:
    monkeypatch.chdir(bad)
    given = {"--reference-data": str(tables / "reference.parquet"), "--current-data": str(tables / "clean.parquet")}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    code = invoke(script_app, "drift", [word for pair in given.items() for word in (*pair,)] + ["--no-html"])
    captured = capsys.readouterr()
    assert code == 2, captured.err
    for part in said:
        assert part in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.door
def test_an_mlflow_that_is_not_there_is_exit_3_before_any_work(
    tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--reference-data", str(tables / "reference.parquet"), "--current-data", str(tables / "clean.parquet")]
    assert invoke(script_app, "drift", [*arguments, "--log-mlflow", "--no-html"]) == 3
    assert "make up" in capsys.readouterr().err


@pytest.mark.door
def test_a_profile_stands_in_for_the_reference_file(
    tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "reference.json"
    assert (
        invoke(app, "drift", ["profile", "--reference-data", str(tables / "reference.parquet"), "--out", str(profile)])
        == 0
    )
    arguments = [
        "run",
        "--reference-data",
        str(profile),
        "--current-data",
        str(tables / "some.parquet"),
        "--no-html",
        "--json",
    ]
    capsys.readouterr()
    assert invoke(app, "drift", arguments) == 1
    assert json.loads(capsys.readouterr().out)["verdict"]["drifted"] == ["x0", "x1", "x2", "x3"]


@pytest.mark.parametrize("out", ["profile.parquet", "profile"])
def test_a_profile_ends_in_json(tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str) -> None:
    arguments = ["profile", "--reference-data", str(tables / "reference.parquet"), "--out", str(tmp_path / out)]
    assert invoke(app, "drift", arguments) == 2
    assert ".json" in capsys.readouterr().err
