"""The predicted sample: at least 80 % of rollouts that are simulated anew end within it."""

from __future__ import annotations

import numpy as np
import pytest

from maestro.core.errors import BadInput
from maestro.decisions.rollout import TrafficRates, predict, start
from maestro.decisions.rollout.prediction import SteadyTraffic
from maestro.decisions.rollout.simulation import UNDECIDED, simulate
from tests.decisions.rollout.traffic import policy

RATES = {"errors": 0.002, "slow": 0.02, "quality": 0.28}
TRAFFIC = TrafficRates(requests_per_s=200)


@pytest.mark.shows("H7", env="laptop")
def test_most_rollouts_end_within_the_prediction_and_leave_each_rung_within_its_own() -> None:
    rules = policy()
    prediction = predict(rules, RATES, TRAFFIC)
    again = simulate(
        rules, SteadyTraffic(rules, prediction.alternative, TRAFFIC), rollouts=2000, looks=120, bake_looks=3, seed=98
    )
    assert prediction.ends_within is not None
    within = (again.verdict != UNDECIDED) & (again.looks * 200 <= prediction.ends_within)
    assert 0.80 <= within.mean() <= 0.93
    before = 0
    for index, rung in enumerate(prediction.rungs):
        assert rung.seconds is not None
        assert rung.seconds > before
        assert rung.requests == rung.seconds * 200
        assert np.mean(again.left[:, index] <= rung.seconds) >= 0.80
        for column, name in enumerate(RATES):
            assert np.mean(again.events[:, index, column] <= rung.events[name]) >= 0.80
        before = rung.seconds


def test_a_bad_release_ends_within_its_prediction() -> None:
    rules = policy()
    prediction = predict(rules, RATES | {"errors": (0.002, 0.2)}, TRAFFIC)
    traffic = SteadyTraffic(rules, prediction.alternative, TRAFFIC)
    again = simulate(rules, traffic, rollouts=2000, looks=60, bake_looks=3, seed=99)
    assert prediction.ends_within is not None
    assert 0.80 <= np.mean(again.looks * 200 <= prediction.ends_within) <= 0.93


def test_the_prediction_is_the_same_every_time() -> None:
    first, second = (predict(policy(), RATES, TRAFFIC, rollouts=50) for _ in range(2))
    assert first == second
    assert predict(policy(), RATES, TRAFFIC, rollouts=50, seed=1) != first


def test_where_rollouts_do_not_get_there_nothing_is_predicted() -> None:
    prediction = predict(policy(), RATES | {"errors": (0.0, 0.3)}, TRAFFIC, rollouts=200)
    assert prediction.requests is None
    assert prediction.rolled_back >= 0.99
    assert prediction.by_rung()[-1] == {}


def test_labels_that_come_late_make_it_longer() -> None:
    document = policy().document()
    document["metrics"][2]["label_wait"] = "5s"
    late = type(policy()).model_validate(document)
    soon, later = predict(policy(), RATES, TRAFFIC, rollouts=200), predict(late, RATES, TRAFFIC, rollouts=200)
    assert soon.rungs[-1].seconds is not None
    assert later.rungs[-1].seconds is not None
    assert later.rungs[-1].seconds > soon.rungs[-1].seconds


def test_it_is_printed_beside_the_reasons() -> None:
    prediction = predict(policy(), RATES, TRAFFIC, rollouts=50)
    assert start(policy(), predicted=prediction.by_rung()).predicted[2]["errors"] > 100


@pytest.mark.parametrize("rates", [{"errors": 0.1}, RATES | {"slow": 1.5}])
def test_missing_or_impossible_rates_are_refused(rates: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=r"rate"):
        predict(policy(), rates, TRAFFIC)
