"""The promise of the rollout decision, by simulation: 2,000 rollouts of up to 30 looks on traffic that is hard to judge."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from maestro.decisions.rollout.simulation import PROMOTED, ROLLED_BACK, Outcomes, simulate
from tests.decisions.rollout.traffic import HardTraffic, policy

ROLLOUTS, LOOKS = 2000, 30
MOST_WRONG = int(binom.ppf(0.999, ROLLOUTS, 0.05))
MARGINS = {"errors": 0.02, "slow": 0.1, "quality": 0.06}


def outcomes(
    differences: dict[str, float], *, tolerate: float | None = None, looks: int = LOOKS, requests: int = 400
) -> Outcomes:
    traffic = HardTraffic(ROLLOUTS, differences, looks, requests)
    rules = policy(tolerate=tolerate)
    return simulate(rules, traffic, rollouts=ROLLOUTS, looks=looks, bake_looks=3, seed=20)


@pytest.mark.shows("F3", "H6", "H9", env="laptop")
@pytest.mark.parametrize("metric", sorted(MARGINS))
def test_a_difference_of_the_margin_in_one_metric_is_rarely_promoted(metric: str) -> None:
    """Nearly all of the margin is tolerated here, so that rolling back does not hide promotions that would be wrong."""
    result = outcomes({metric: MARGINS[metric]}, tolerate=0.95)
    assert np.isfinite(result.left[:, 1]).mean() > 0.8, "the rung where it is decided has to be reached"
    assert np.isfinite(result.left[:, 2]).sum() <= MOST_WRONG
    assert (result.verdict == PROMOTED).sum() <= MOST_WRONG


@pytest.mark.shows("F4", "H6", env="laptop")
@pytest.mark.parametrize("tolerate", [0.25, 0.95])
def test_tolerated_differences_in_every_metric_are_rarely_rolled_back(tolerate: float) -> None:
    result = outcomes({name: tolerate * margin for name, margin in MARGINS.items()}, tolerate=tolerate)
    assert np.median(result.looks) >= 20
    assert (result.verdict == ROLLED_BACK).sum() <= MOST_WRONG


@pytest.mark.shows("F2", "F3", "H8", "H9", env="laptop")
def test_an_equal_challenger_is_promoted_on_the_same_traffic() -> None:
    result = outcomes({}, looks=120, requests=200)
    assert (result.verdict == PROMOTED).mean() >= 0.9
    assert (result.verdict == ROLLED_BACK).sum() <= 40


@pytest.mark.shows("F4", "H8", "H9", env="laptop")
@pytest.mark.parametrize(("metric", "difference"), [("errors", 0.2), ("slow", 0.5), ("quality", 0.2)])
def test_a_bad_challenger_is_rolled_back_before_half_of_the_traffic_is_its(metric: str, difference: float) -> None:
    result = outcomes({metric: difference}, requests=200)
    assert (result.verdict == ROLLED_BACK).mean() >= 0.99
    assert np.isfinite(result.left[:, 1]).mean() <= 0.02
    assert np.quantile(result.looks, 0.8) <= 20
