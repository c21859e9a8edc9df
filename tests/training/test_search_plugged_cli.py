"""A search over a kind of model that a user's package plugs in, through the command line and a script."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from maestro.cli.main import main
from maestro.cli.studies import example_main
from maestro.clients.home import Home

ENTRY_POINTS = """[maestro.model_types]
nearest = tests.training.plugged_kind:Nearest
broken = tests.training.no_such_module:Nearest
"""
SMALL = ["--features", "tumour_v1", "--n-trials", "3", "--sampler", "random", "--pruner", "none"]
NEIGHBOURS = ["--space", "nearest", "--dimension", "neighbours=int:1:30:log"]


@pytest.fixture
def _plugged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as `pip` would have installed it, seen by this process and by those that it starts."""
    folder = tmp_path / "site"
    info = folder / "nearest_models-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nearest-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.fixture
def visible(home: Path, shared_home: Home, monkeypatch: pytest.MonkeyPatch, mlflow_url: str) -> Path:
    """A home with the shared features, and MLflow named by the environment."""
    for name in ("data", "features"):
        (home / name).symlink_to(shared_home.root / name)
    monkeypatch.setenv("MAESTRO_MLFLOW_URL", mlflow_url)
    return home


@pytest.mark.usefixtures("visible", "_plugged_in")
def test_a_plugged_in_kind_of_model_is_searched_by_what_the_user_gives(capsys: pytest.CaptureFixture[str]) -> None:
    given = [*NEIGHBOURS, "--param", "weights=distance", "--objective", "doubt", "--minimise", "doubt", "--json"]
    assert main(["tune", "run", "--study-name", "plugged", *SMALL, *given]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["complete"], result["failed"]) == (3, 0)
    assert set(result["best"]["params"]) == {"neighbours"}
    assert result["best"]["rule"] == "least doubt"
    assert main(["tune", "show", "plugged", "--json"]) == 0
    trials = json.loads(capsys.readouterr().out)["trials"]
    assert result["best"]["values"]["doubt"] == min(trial["values"][0] for trial in trials)
    assert all(1 <= trial["params"]["neighbours"] <= 30 for trial in trials)
    # other fixed parameters give other scores
    assert main(["tune", "run", "--study-name", "plugged", *SMALL, *given, "--param", "weights=uniform"]) == 2
    assert "params" in capsys.readouterr().err


@pytest.mark.usefixtures("visible", "_plugged_in")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--space", "cats", "--dimension", "a=int:1:2"], ("'cats' is unknown", "space", "nearest")),
        (["--space", "nearest"], ("'nearest' has no ranges of its own", "dimensions")),
        (["--space", "command", "--dimension", "a=int:1:2"], ("'command' is unknown", "space")),
        (["--space", "broken", "--dimension", "a=int:1:2"], ("'broken'", "cannot be loaded", "no_such_module")),
        ([*NEIGHBOURS, "--param", "neighbours=3"], ("fixed and searched", "params.neighbours")),
        ([*NEIGHBOURS, "--param", "weights=NaN"], ("params", "not canonical JSON")),
        (["--space", "nearest", "--dimension", "neighbours=int:1:9e99"], ("dimensions.neighbours",)),
        (["--param", "algorithm=xgboost"], ("params.algorithm", "'classifier'")),
        (["--space", "nearest", "--dimension", "neighbours=1:3"], ("--dimension", "name=int:LOW:HIGH")),
        (["--space", "nearest", "--dimension", "neighbours=int:1:x"], ("dimensions.neighbours",)),
        ([*NEIGHBOURS, "--dimension", "neighbours=int:1:3"], ("given twice",)),
        ([*NEIGHBOURS, "--objective", "doubt"], ("objectives", "'doubt'", "minimise")),
        ([*NEIGHBOURS, "--minimise", "doubt"], ("minimise names 'doubt'",)),
    ],
)
def test_a_mistake_is_exit_2_and_names_field_and_remedy(
    given: list[str], words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["optuna-study-example.py", "--study-name", "wrong", *SMALL, *given])
    assert example_main() == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in told
    for word in words:
        assert word in told
