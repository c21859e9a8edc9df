"""The doors: `maestro features`, `maestro tune` and the three promised scripts, as users run them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from maestro.cli.main import main
from maestro.cli.studies import cost_aware_main, example_main, multi_objective_main
from maestro.clients.home import Home

ROOT = Path(__file__).parents[2]
SCRIPTS = ("optuna-study-example.py", "cost-aware-optimizer.py", "multi-objective-tuning.py")
"""The promised ones; `tests/e2e/test_scripts.py` runs them with the flags that users were given."""


@pytest.fixture
def visible(home: Path, shared_home: Home, monkeypatch: pytest.MonkeyPatch, mlflow_url: str) -> Path:
    """A home with the shared features, and MLflow named by the environment."""
    for name in ("data", "features"):
        (home / name).symlink_to(shared_home.root / name)
    monkeypatch.setenv("MAESTRO_MLFLOW_URL", mlflow_url)
    return home


def test_a_script_without_the_package_says_how_to_activate(tmp_path: Path) -> None:
    for script in SCRIPTS:
        done = subprocess.run(
            [sys.executable, "-S", "-I", str(ROOT / "training" / "optuna" / script)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 2
        assert "make setup" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--study-name"),
        (["--study-name", "a b"], "name"),
        (["--study-name", "s", "--n-trials", "0"], "--n-trials"),
        (["--study-name", "s", "--sampler", "magic"], "sampler"),
        (["--study-name", "s", "--space", "cats"], "cats"),
        (["--study-name", "s", "--no-such-flag"], "--no-such-flag"),
        (["--study-name", "s", "--features", "cats_v1"], "cats_v1"),
        (["--study-name", "s", "--backend", "slurm"], "backend 'slurm' is unknown"),
        (["--study-name", "s", "--backend", "kubeflow"], "MAESTRO_CLUSTER__TRAINING__BACKENDS"),
        (["--study-name", "s", "--trial-cpu", "2"], "trial_cpu"),
        (["--study-name", "s", "--trial-memory", "lots"], "trial_memory"),
    ],
)
def test_a_wrong_flag_is_exit_2_and_named(
    arguments: list[str], words: str, visible: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["optuna-study-example.py", *arguments])
    assert example_main() == 2
    assert words in capsys.readouterr().err


def test_an_unknown_strategy_and_a_negative_weight_are_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--study-name", "s", "--selection-strategy", "luck"])
    assert multi_objective_main() == 2
    assert "selection_strategy" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["x", "--study-name", "s", "--weight", "0", "--weight", "0"])
    assert multi_objective_main() == 2
    assert "selection_weights are all 0" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["x", "--study-name", "s", "--sampler", "cmaes"])
    assert multi_objective_main() == 2
    assert "sampler cmaes searches for one objective" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["x", "--study-name", "s", "--cost-weight", "-1"])
    assert cost_aware_main() == 2
    assert "--cost-weight" in capsys.readouterr().err


def test_without_mlflow_a_study_is_exit_3_naming_make_up(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "run", "--study-name", "s"]) == 3
    assert "make up" in capsys.readouterr().err


@pytest.mark.shows("A1", "A2", "A4", env="laptop")
def test_features_are_listed_and_read_online(visible: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "list", "--json"]) == 0
    services = {row["service"]: row for row in json.loads(capsys.readouterr().out)}
    assert services["visits_v1"]["entities"] == ["person_id"]
    assert (
        main(["features", "get", "visits_v1", "--entity", "person_id=7", "--entity", "person_id=99999999", "--json"])
        == 0
    )
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["lncoins"] is not None
    assert rows[1]["lncoins"] is None
    assert main(["features", "get", "visits_v1", "--entity", "person=x"]) == 2
    assert "key=number" in capsys.readouterr().err
    assert main(["features", "get", "cats_v1", "--entity", "person_id=7"]) == 2
    assert "visits_v1" in capsys.readouterr().err
    assert main(["features", "materialize", "--from", "yesterday"]) == 2
    assert "YYYY-MM-DD" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.shows("A2", "A3", env="laptop")
def test_features_are_applied_and_materialised(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "apply", "--dataset", "tumour", "--json"]) == 0
    applied = json.loads(capsys.readouterr().out)
    assert applied["services"] == ["tumour_v1"]
    assert len(applied["datasets"][0]["version"]) == 12
    assert main(["features", "materialize", "--json"]) == 0
    capsys.readouterr()
    assert main(["features", "get", "tumour_v1", "--entity", "patient_id=3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["mean_radius"] > 0
    assert main(["features", "apply", "--dataset", "cats"]) == 2
    assert "tumour, digits, visits" in capsys.readouterr().err


def test_a_full_disk_is_named_when_data_are_written(home: Path) -> None:
    code = (
        "import resource, signal, sys, warnings; warnings.simplefilter('ignore')\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from pathlib import Path; from maestro.core.errors import Unreachable; from maestro.training import datasets\n"
        "try: datasets.write('digits', Path(sys.argv[1]))\n"
        "except Unreachable as error: print(error.detail, '|', error.remedy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(home / "data")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "data set digits cannot be written" in done.stdout
    assert "free disk space" in done.stdout
    assert not (home / "data" / "digits" / "current").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["submit", "--features", "tumour_v1", "--param", "x"], 2, "--param"),
        (["submit", "--features", "tumour_v1", "--from", "May"], 2, "data.from"),
        (["submit", "--file", "/nowhere.yaml"], 2, "/nowhere.yaml"),
        (["submit", "--features", "tumour_v1"], 3, "make up"),
        (["retrain", "--model", "tumour", "--features", "tumour_v1"], 3, "make up"),
        (["retrain", "--model", "tumour"], 2, "--features"),
        (["retrain", "--model", "tumour", "--features", "tumour_v1", "--folds", "1"], 2, "--folds"),
        (["list", "--status", "done"], 2, "--status"),
        (["list"], 3, "make up"),
    ],
)
def test_a_wrong_training_command_is_named(
    arguments: list[str], code: int, words: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments]) == code
    assert words in capsys.readouterr().err
