"""Spaces, scoring and requests of a search: pure."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from maestro.clients.home import Home
from maestro.clients.optuna import TrialInfo
from maestro.core.errors import BadInput
from maestro.core.jobs import DataSpec
from maestro.training.search.request import StudyRequest
from maestro.training.search.scoring import best, reference_seconds
from maestro.training.search.spaces import SPACES, Choice, FloatRange, IntRange, space
from maestro.training.search.storage import storage_url

DATA = DataSpec(feature_service="digits_v1")


def trial(number: int, *values: float, seconds: float = 1.0, state: str = "complete", **attributes: float) -> TrialInfo:
    return TrialInfo(
        number=number,
        state=state,
        values=values or None,
        params={"depth": number},
        attributes={"seconds": seconds} | attributes,
    )


@pytest.mark.shows("C11", env="laptop")
def test_the_promised_spaces_have_the_promised_ranges() -> None:
    forecast = SPACES["forecast"].dimensions
    assert forecast["n_estimators"] == IntRange(low=50, high=500)
    assert forecast["learning_rate"] == FloatRange(low=0.01, high=0.3, log=True)
    assert forecast["max_depth"] == IntRange(low=3, high=15)
    assert forecast["min_child_samples"] == IntRange(low=5, high=100)
    assert forecast["subsample"] == forecast["colsample_bytree"] == FloatRange(low=0.5, high=1.0)
    anomaly = SPACES["anomaly"].dimensions
    assert anomaly["n_estimators"] == IntRange(low=50, high=300)
    assert anomaly["contamination"] == FloatRange(low=0.01, high=0.3)
    assert anomaly["max_samples"] == Choice(values=("auto", 256, 512, 1024))


def test_studies_are_in_the_home_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert storage_url(Home(tmp_path)) == f"sqlite:///{tmp_path / 'optuna.db'}"
    monkeypatch.setenv("MAESTRO_OPTUNA_URL", "postgresql://db/optuna")
    assert storage_url(Home(tmp_path)) == "postgresql://db/optuna"


def test_a_grid_is_spread_over_the_range() -> None:
    grid = space("random_forest").grid(3)
    assert grid["max_depth"] == [2, 11, 20]
    assert grid["n_estimators"] == [10, 45, 200]
    with pytest.raises(BadInput, match="'cats' is unknown"):
        space("cats")
    with pytest.raises(ValidationError, match="low must be below high"):
        IntRange(low=5, high=5)
    with pytest.raises(ValidationError, match="above 0"):
        FloatRange(low=0.0, high=1.0, log=True)


def test_the_reference_is_the_median_of_the_first_five_and_then_final() -> None:
    some = [trial(0, 0.9, seconds=4), trial(1, 0.9, seconds=2)]
    assert reference_seconds([], None) == (None, False)
    assert reference_seconds(some, None) == (3, False)
    five = [
        *some,
        trial(2, 0.9, seconds=9),
        trial(3, seconds=99, state="pruned"),
        trial(4, 0.9, seconds=1),
        trial(5, 0.9, seconds=3),
    ]
    assert reference_seconds(five, None) == (3, True)
    assert reference_seconds([*five, trial(6, 0.9, seconds=1000)], None) == (3, True)
    assert reference_seconds(five, 7.0) == (7.0, True)


def test_cost_decides_between_nearly_equal_scores() -> None:
    trials = [
        trial(0, 0.0, seconds=10, accuracy=0.95),
        trial(1, 0.0, seconds=1, accuracy=0.94),
        trial(2, 0.0, seconds=1, accuracy=0.5),
    ]
    plain = best(trials, StudyRequest(name="s", data=DATA), None)
    aware = best(trials, StudyRequest(name="s", data=DATA, cost_weight=0.3), 10.0)
    assert plain is not None
    assert aware is not None
    assert (plain.number, aware.number) == (0, 1)
    assert aware.score == pytest.approx(0.94 - 0.3 * 1 / 10)
    assert best([], StudyRequest(name="s", data=DATA), None) is None


def test_a_loss_is_minimised() -> None:
    found = best(
        [trial(0, 0.5), trial(1, 0.2), trial(2, 0.9)], StudyRequest(name="s", data=DATA, objectives=("log_loss",)), None
    )
    assert found is not None
    assert found.number == 1


def test_several_objectives_take_one_from_the_front() -> None:
    trials = [trial(0, 1.0, 10.0), trial(1, 0.8, 2.0), trial(2, 0.2, 1.0), trial(3, 0.1, 9.0)]
    request = StudyRequest(name="s", data=DATA, objectives=("accuracy", "seconds"))
    found = best(trials, request, None)
    assert found is not None
    assert (found.number, found.front) == (1, (0, 1, 2))
    first = best(trials, request.model_copy(update={"selection_strategy": "lexicographic"}), None)
    assert first is not None
    assert first.number == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sampler": "magic"}, "tpe"),
        ({"n_trials": 0}, "greater than or equal to 1"),
        ({"objectives": ("accuracy", "f1"), "cost_weight": 0.1}, "single objective"),
        ({"objectives": ("f1", "f1")}, "must differ"),
        ({"n_trails": 5}, "Extra inputs"),
        ({"selection_weights": (-1.0,)}, "greater than or equal to 0"),
        ({"selection_weights": (0.0,)}, "all 0"),
        ({"cost_reference_s": float("inf")}, "less than or equal to"),
        ({"dimensions": {"x": {"kind": "float", "low": 0, "high": float("inf")}}}, "too far apart"),
        ({"dimensions": {"x": {"kind": "int", "low": 1, "high": 2**53}}}, "whole numbers are exact"),
        ({"dimensions": {"x": {"kind": "int", "low": -(2**53), "high": 1}}}, "whole numbers are exact"),
        ({"params": {"x": float("nan")}}, "not canonical JSON"),
        ({"params": {"x": [2**53 + 1]}}, "not canonical JSON"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        StudyRequest.model_validate({"name": "s", "data": DATA.document()} | fields)
