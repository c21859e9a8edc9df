"""One suite for every off-policy estimator, in a world whose truth is known: bias, coverage, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from maestro.core.errors import BadInput
from maestro.decisions.off_policy import ESTIMATORS, Logged, check_overlap, create_estimator

NAMES = sorted(ESTIMATORS)
ARMS = 3
BASE = np.array([0.3, 0.5, 0.4])
SLOPE = np.array([0.2, 0.0, -0.25])
TARGET = np.array([0.7, 0.2, 0.1])


def log_of(seed: int, size: int = 1000, floor: float = 0.1, with_context: bool = True) -> Logged:
    """A logging policy that follows its context; the target leans the other way."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size)
    lean = np.stack([np.exp(-x), np.ones(size), np.exp(x)], axis=1)
    chances = floor + (1 - ARMS * floor) * lean / lean.sum(axis=1, keepdims=True)
    arm = (rng.random(size)[:, None] >= chances.cumsum(axis=1)[:, :-1]).sum(axis=1)
    pays = BASE[arm] + SLOPE[arm] * x
    reward = (rng.random(size) < pays).astype(float)
    target = np.where((x > 0)[:, None], TARGET, TARGET[::-1])
    return Logged(arm, reward, chances[np.arange(size), arm], target, x[:, None] if with_context else None)


def truth() -> float:
    """The target's mean reward: the mean over x on −1 … 1 in closed form."""
    above = (TARGET * (BASE + SLOPE / 2)).sum()
    below = (TARGET[::-1] * (BASE - SLOPE / 2)).sum()
    return float((above + below) / 2)


@pytest.mark.parametrize("name", NAMES)
def test_intervals_cover_the_truth_as_often_as_they_say(name: str) -> None:
    estimator, runs = create_estimator(name), 600
    found = [estimator.estimate(log_of(10_000 + seed)) for seed in range(runs)]
    covered = np.mean([each.lower <= truth() <= each.upper for each in found])
    assert 0.925 < covered < 0.975
    values = np.array([each.value for each in found])
    assert abs(values.mean() - truth()) < 4 * values.std() / np.sqrt(runs)


def test_doubly_robust_is_narrower_than_ips_where_the_context_tells() -> None:
    widths = {}
    for name in NAMES:
        found = create_estimator(name).estimate(log_of(1, size=5000))
        widths[name] = found.upper - found.lower
    assert widths["dr"] < 0.85 * widths["ips"]
    assert widths["snips"] < widths["ips"]


@pytest.mark.parametrize("name", NAMES)
def test_the_logged_policy_itself_is_worth_its_mean_reward(name: str) -> None:
    rng = np.random.default_rng(4)
    arm = rng.integers(0, 2, 400)
    reward = rng.random(400)
    same = Logged(arm, reward, np.full(400, 0.5), np.full((400, 2), 0.5))
    found = create_estimator(name).estimate(same)
    assert found.value == pytest.approx(reward.mean(), abs=0.01)
    assert found.effective_sample_size == pytest.approx(400)
    assert (found.mean_weight, found.max_weight, found.clipped_share) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_clipping_is_reported_and_narrows(name: str) -> None:
    logged = log_of(2, size=4000, floor=0.02)
    free, bound = (create_estimator(name).estimate(logged, clip=clip) for clip in (None, 2.0))
    assert free.clip is None
    assert bound.clip == 2.0
    assert bound.clipped_share == pytest.approx((logged.weights(None) > 2.0).mean())
    assert 0.0 < bound.clipped_share < 1.0
    assert bound.effective_sample_size > free.effective_sample_size
    assert bound.upper - bound.lower < free.upper - free.lower


@pytest.mark.parametrize("name", NAMES)
def test_a_log_without_overlap_is_refused(name: str) -> None:
    rng = np.random.default_rng(5)
    arm = rng.integers(0, 2, 500)
    elsewhere = np.tile([0.0, 0.5, 0.5], (500, 1))
    never = Logged(arm, rng.random(500), np.full(500, 0.5), elsewhere)
    with pytest.raises(BadInput, match=r"no overlap: the target gives 50\.0% to arms that the log never took \(2\)"):
        create_estimator(name).estimate(never)
    with pytest.raises(BadInput, match=r"\(shadowed\)"):
        check_overlap(never, None, 0.95, ["a", "b", "shadowed"])
    rare = np.concatenate([np.ones(5, dtype=np.int64), np.zeros(495, dtype=np.int64)])
    thin = Logged(rare, rng.random(500), np.where(rare == 1, 0.01, 0.99), np.tile([0.0, 1.0], (500, 1)))
    with pytest.raises(BadInput, match=r"say as much about the target as 5\.0 of its own") as caught:
        create_estimator(name).estimate(thin)
    assert caught.value.field == "target"
    with pytest.raises(BadInput, match="too few"):
        create_estimator(name).estimate(log_of(1, size=20))


@pytest.mark.parametrize("name", NAMES)
def test_propensities_that_cannot_be_right_are_refused(name: str) -> None:
    logged = log_of(3, size=4000)
    wrong = Logged(logged.arm, logged.reward, np.minimum(logged.propensity * 2, 1.0), logged.target)
    with pytest.raises(BadInput, match="cannot be right"):
        create_estimator(name).estimate(wrong)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"propensity": np.zeros(10)}, "propensity"),
        ({"reward": np.full(10, np.nan)}, "reward"),
        ({"target": np.full((10, 2), 0.4)}, "target"),
        ({"arm": np.full(10, 2)}, "arm"),
        ({"context": np.zeros((9, 1))}, "context"),
    ],
)
def test_what_cannot_be_is_refused_with_its_column(change: dict[str, np.ndarray], field: str) -> None:
    sound = {
        "arm": np.zeros(10, dtype=np.int64),
        "reward": np.zeros(10),
        "propensity": np.ones(10),
        "target": np.full((10, 2), 0.5),
    }
    with pytest.raises(BadInput) as caught:
        Logged(**(sound | change))
    assert caught.value.field == field


@pytest.mark.parametrize(("option", "value"), [("clip", 0.5), ("confidence", 1.0)])
def test_options_out_of_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(BadInput) as caught:
        create_estimator("ips").estimate(log_of(1), **{option: value})
    assert caught.value.field == option


def test_doubly_robust_lives_with_missing_numbers_and_without_a_context() -> None:
    whole = log_of(7, size=2000)
    assert whole.context is not None
    holed = whole.context.copy()
    holed[::7] = np.nan
    for context in (holed, None):
        found = create_estimator("dr").estimate(
            Logged(whole.arm, whole.reward, whole.propensity, whole.target, context)
        )
        assert found.lower < truth() < found.upper


def test_the_factory_refuses_what_it_does_not_know_and_lists_what_it_does() -> None:
    with pytest.raises(BadInput, match="'direct' is not known") as caught:
        create_estimator("direct")
    assert caught.value.remedy == "use one of: dr, ips, snips"
