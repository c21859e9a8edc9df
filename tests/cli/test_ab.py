"""`maestro ab`: sample size, and an experiment's analysis from its files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from maestro.ab_testing.exposures import write_exposures
from maestro.cli.ab import app
from maestro.cli.console import invoke

EXPERIMENT = """
apiVersion: maestro/v1
kind: Experiment
name: churn-ab
champion: a
challenger: b
horizon: 8000
metrics: [{name: error_rate, minimum_effect: 0.02}]
"""


def _exposures(path: Path, errors_of_b: float, errors_of_a: float = 0.02) -> None:
    rng = np.random.default_rng(3)
    units = 4000
    arms = np.where(rng.random(units) < 0.5, "a", "b")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    write_exposures(
        path,
        {
            "at": [(start + timedelta(seconds=i)).strftime("%Y-%m-%dT%H:%M:%S.000Z") for i in range(units)],
            "experiment": ["churn-ab"] * units,
            "unit": [f"u{i}" for i in range(units)],
            "arm": arms.tolist(),
            "version": np.where(arms == "a", "1.0.0", "1.1.0").tolist(),
            "revision": [1] * units,
            "propensity": [0.5] * units,
            "outcome_latency_s": rng.exponential(0.02, units).tolist(),
            "error": (rng.random(units) < np.where(arms == "a", errors_of_a, errors_of_b)).tolist(),
            "reward_id": [f"r{i}" for i in range(units)],
        },
    )


@pytest.mark.shows("H6", "H10", env="laptop")
@pytest.mark.door
def test_an_experiment_is_analysed_with_its_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    _exposures(tmp_path / "e.parquet", 0.2)
    arguments = ["analyse", "--experiment", str(tmp_path / "e.yaml"), "--exposures", str(tmp_path / "e.parquet")]
    assert invoke(app, "ab", [*arguments, "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    (metric,) = result["metrics"]
    assert 0 < metric["lower"] < metric["difference"] < metric["upper"]
    assert result["next"] == "roll_back"
    assert invoke(app, "ab", arguments) == 1
    assert "verdict: harm" in capsys.readouterr().out


@pytest.mark.shows("H8", env="laptop")
@pytest.mark.door
@pytest.mark.parametrize(
    ("errors_of_a", "errors_of_b", "verdict", "next_step"),
    [(0.10, 0.02, "winner", "promote"), (0.02, 0.02, "futile", "stop")],
)
def test_an_experiment_stops_early_for_a_winner_and_for_futility(
    errors_of_a: float,
    errors_of_b: float,
    verdict: str,
    next_step: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    planned = EXPERIMENT.replace("horizon: 8000", "horizon: 6000\nmode: planned\nlooks: 3\nfutility: true")
    (tmp_path / "e.yaml").write_text(planned)
    _exposures(tmp_path / "e.parquet", errors_of_b, errors_of_a)
    arguments = ["analyse", "--experiment", str(tmp_path / "e.yaml"), "--exposures", str(tmp_path / "e.parquet")]
    assert invoke(app, "ab", [*arguments, "--earlier", "2000", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["verdict"], result["next"]) == (verdict, next_step)
    assert result["units_champion"] + result["units_challenger"] < 6000


@pytest.mark.shows("H7", env="laptop")
@pytest.mark.door
@pytest.mark.parametrize("mode", ["fixed", "planned", "always_valid"])
def test_a_sample_size_grows_with_the_freedom_to_look(capsys: pytest.CaptureFixture[str], mode: str) -> None:
    arguments = ["sample-size", "--baseline", "0.10", "--effect", "0.02", "--mode", mode, "--json"]
    assert invoke(app, "ab", arguments) == 0
    size = json.loads(capsys.readouterr().out)
    assert size["total"] == size["champion"] + size["challenger"]
    if mode == "fixed":
        assert size["champion"] == 3841
    else:
        assert size["champion"] > 3841
        assert size["expected_share"] < 1


@pytest.mark.door
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sample-size"], "--baseline"),
        (["sample-size", "--baseline", "0.1", "--sd", "2"], "one of the two"),
        (["sample-size", "--baseline", "1.5"], "champion must be a rate"),
        (["sample-size", "--sd", "1", "--effect", "0"], "effect"),
        (["sample-size", "--baseline", "0.1", "--power", "2"], "power"),
        (["analyse", "--experiment", "absent.yaml", "--exposures", "absent.parquet"], "absent.yaml"),
        (["analyse", "--experiment", "absent.yaml", "--exposures", "x.parquet", "--earlier", "1,two"], "--earlier"),
    ],
)  # fmt: skip
def test_bad_input_is_named(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert invoke(app, "ab", arguments) == 2
    assert said in capsys.readouterr().err
