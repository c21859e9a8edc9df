"""The analysis of an experiment, from files to the record that promotes the winner."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from maestro.ab_testing import Experiment, ExperimentResult, analyse
from maestro.ab_testing.analysis import decision
from maestro.core.decision import Subject, Verdict
from maestro.core.errors import BadInput
from tests.ab_testing.exposure_files import START, Files, Truth, write_files

END = START + timedelta(days=1)

METRICS = [
    {"name": "accuracy", "minimum_effect": 0.04},
    {"name": "error_rate", "minimum_effect": 0.02},
    {"name": "latency", "minimum_effect": 0.01},
    {"name": "throughput", "minimum_effect": 5.0},
]


def _experiment(**changes: Any) -> Experiment:
    document = {
        "apiVersion": "maestro/v1",
        "kind": "Experiment",
        "name": "spring",
        "champion": "champion",
        "challenger": "challenger",
    }
    return Experiment.model_validate(document | {"metrics": METRICS, "horizon": 6000} | changes)


def _analyse(files: Files, experiment: Experiment, **options: Any) -> ExperimentResult:
    return analyse(experiment, [files.exposures], at=END, rewards=files.rewards, **options)


@pytest.mark.shows("H6", "H10", env="laptop")
@pytest.mark.parametrize("mode", ["fixed", "planned", "always_valid"])
@pytest.mark.parametrize(
    ("truth", "verdict", "following"),
    [
        (Truth(accuracy=(0.75, 0.83)), "winner", "promote"),
        (Truth(accuracy=(0.83, 0.75)), "harm", "roll_back"),
        (Truth(accuracy=(0.75, 0.83), errors=(0.01, 0.06)), "harm", "roll_back"),
        (Truth(accuracy=(0.75, 0.83), latency=(0.020, 0.040)), "harm", "roll_back"),
        (Truth(), "futile", "stop"),
    ],
)
def test_verdicts(tmp_path: Path, mode: str, truth: Truth, verdict: str, following: str) -> None:
    result = _analyse(write_files(tmp_path, truth), _experiment(mode=mode, horizon=truth.units, futility=False))
    assert (result.verdict, result.next) == (verdict, following)
    assert [metric.name for metric in result.metrics] == [metric["name"] for metric in METRICS]


@pytest.mark.shows("H10", env="laptop")
def test_each_metric_shows_both_arms_and_encloses_the_truth(tmp_path: Path) -> None:
    truth = Truth(accuracy=(0.75, 0.80), errors=(0.01, 0.03), latency=(0.020, 0.025), units=20_000)
    result = _analyse(write_files(tmp_path, truth), _experiment(horizon=20_000))
    found = {metric.name: metric for metric in result.metrics}
    assert found["accuracy"].champion == pytest.approx(0.75, abs=0.02)
    assert found["error_rate"].challenger == pytest.approx(0.03, abs=0.005)
    mean = 1.0833  # of the log-normal with sigma 0.4
    rates = [(1 - e) / (latency * mean) for e, latency in zip(truth.errors, truth.latency, strict=True)]
    assert found["throughput"].champion == pytest.approx(rates[0], rel=0.02)
    true = {"accuracy": 0.05, "error_rate": 0.02, "latency": 0.005 * 1.931, "throughput": rates[1] - rates[0]}
    for name, difference in true.items():
        lower, upper = found[name].lower, found[name].upper
        assert lower is not None
        assert upper is not None
        assert lower <= difference <= upper
    assert result.verdict == "harm"


@pytest.mark.shows("H8", env="laptop")
def test_an_experiment_ends_early_when_the_winner_is_clear(tmp_path: Path) -> None:
    truth = Truth(units=3000, accuracy=(0.70, 0.85))
    result = _analyse(write_files(tmp_path, truth), _experiment(horizon=20_000))
    assert result.verdict == "winner"
    assert result.units == 3000
    early = _analyse(write_files(tmp_path, Truth(units=500)), _experiment(horizon=20_000))
    assert (early.verdict, early.next) == ("keep_going", "continue")


@pytest.mark.shows("H6", "H8", env="laptop")
@pytest.mark.parametrize("mode", ["planned", "always_valid"])
def test_a_covariate_finds_what_the_plain_test_does_not(tmp_path: Path, mode: str) -> None:
    files = write_files(tmp_path, Truth(units=4000, value=(0.0, 0.07), seed=4))
    metrics = [{"name": "reward", "minimum_effect": 0.05}]
    plain = _analyse(files, _experiment(mode=mode, metrics=metrics, horizon=4000))
    adjusted = _analyse(
        files, _experiment(mode=mode, metrics=metrics, horizon=4000, covariate=True), covariate=files.covariate
    )
    assert plain.verdict != "winner"
    assert adjusted.verdict == "winner"
    assert adjusted.metrics[0].variance_saved == pytest.approx(0.81, abs=0.02)


@pytest.mark.shows("H8", env="laptop")
def test_a_planned_experiment_is_read_look_by_look(tmp_path: Path) -> None:
    experiment = _experiment(mode="planned", looks=5, horizon=10_000, metrics=METRICS[:1])
    earlier: list[int] = []
    for units in (2000, 4000, 6000, 8000, 10_000):
        result = _analyse(write_files(tmp_path, Truth(units=units, accuracy=(0.80, 0.83))), experiment, earlier=earlier)
        if result.next != "continue":
            break
        earlier.append(result.units)
    assert result.verdict == "winner"
    assert "look" in result.metrics[0].reason
    with pytest.raises(BadInput, match="earlier looks"):
        _analyse(write_files(tmp_path, Truth(units=1000)), experiment, earlier=[2000])


@pytest.mark.shows("H6", env="laptop")
def test_a_sample_ratio_mismatch_freezes(tmp_path: Path) -> None:
    files = write_files(tmp_path, Truth(units=20_000, share=0.5, seen_share=0.46, accuracy=(0.7, 0.9)))
    result = _analyse(files, _experiment())
    assert (result.verdict, result.next) == ("freeze", "investigate")
    assert "sample-ratio mismatch" in result.reasons[0]


@pytest.mark.shows("H6", env="laptop")
def test_labels_missing_at_different_rates_freeze(tmp_path: Path) -> None:
    result = _analyse(write_files(tmp_path, Truth(labelled=(0.9, 0.7), accuracy=(0.7, 0.9))), _experiment())
    assert result.verdict == "freeze"
    assert "labels are missing" in result.reasons[0]
    even = _analyse(write_files(tmp_path, Truth(labelled=(0.6, 0.6), accuracy=(0.7, 0.9))), _experiment())
    assert even.verdict == "winner"
    none = _analyse(write_files(tmp_path, Truth(labelled=(0.0, 0.0))), _experiment())
    assert none.reasons == ("no exposure has a reward yet",)


def test_rewards_count_only_once_exposures_are_old_enough(tmp_path: Path) -> None:
    files = write_files(tmp_path, Truth(units=3000))  # ten a second, so five minutes
    experiment = _experiment(label_wait="100s")
    now = START + timedelta(seconds=300)
    result = analyse(experiment, [files.exposures], at=now, rewards=files.rewards)
    accuracy, errors, *_ = result.metrics
    assert accuracy.n_champion + accuracy.n_challenger == 2000
    assert errors.n_champion + errors.n_challenger == 3000


@pytest.mark.shows("E7", "H9", env="laptop")
def test_the_winner_becomes_a_promotion_record(tmp_path: Path) -> None:
    experiment = _experiment()
    subject = Subject(model="m", version="1.1.0", digest="sha256:" + "1" * 64)
    for truth, expected in (
        (Truth(accuracy=(0.7, 0.85)), Verdict.PROMOTE),
        (Truth(accuracy=(0.85, 0.7)), Verdict.ROLL_BACK),
    ):
        result = _analyse(write_files(tmp_path, truth), experiment)
        record = decision(result, experiment=experiment, subject=subject, code="0.1.0", actor="system:controller")
        assert record.verdict == expected
        assert record.is_intact()
        again = decision(
            _analyse(write_files(tmp_path, truth), experiment),
            experiment=experiment,
            subject=subject,
            code="0.1.0",
            actor="system:controller",
        )
        assert again == record  # the same files and code give the same bytes


def test_the_result_is_one_json_document(tmp_path: Path) -> None:
    result = _analyse(write_files(tmp_path, Truth(units=300)), _experiment())
    document = json.loads(json.dumps(result.document(), allow_nan=False))
    assert ExperimentResult.model_validate(document) == result


def test_missing_files_are_named(tmp_path: Path) -> None:
    files = write_files(tmp_path, Truth(units=300))
    with pytest.raises(BadInput) as rewards:
        analyse(_experiment(), [files.exposures], at=END)
    assert rewards.value.field == "rewards"
    with pytest.raises(BadInput) as covariate:
        _analyse(files, _experiment(covariate=True))
    assert covariate.value.field == "covariate"
