"""One suite for every bandit policy: floor, exactness, replay, and that it learns."""

from __future__ import annotations

import json

import numpy as np
import pytest

from maestro.core.errors import BadInput
from maestro.decisions.bandits import POLICIES, BanditPolicy, Decider, Snapshot, create_policy
from maestro.decisions.bandits._base import Floats
from maestro.decisions.bandits.simulation import World, regret_of

ARMS = ("a", "b", "c")
RANGES = ((-1.0, 1.0), (0.0, 50.0))
NAMES = sorted(POLICIES)


def units(count: int) -> list[str]:
    return [f"user-{number}" for number in range(count)]


def context(policy: BanditPolicy, rows: int, seed: int = 3) -> Floats | None:
    if not policy.contextual:
        return None
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(-1, 1, rows), rng.uniform(0, 50, rows)], axis=1)


def start(name: str, epsilon: float = 0.02) -> tuple[BanditPolicy, Snapshot]:
    policy = create_policy(name)
    return policy, policy.start("spring", ARMS, epsilon=epsilon, ranges=RANGES if policy.contextual else ())


def learnt(name: str, rewards: int = 300, epsilon: float = 0.02) -> tuple[BanditPolicy, Snapshot]:
    """A snapshot after rewards of which arm `c` gets the most."""
    policy, snapshot = start(name, epsilon)
    rng = np.random.default_rng(5)
    arm = rng.integers(0, 3, rewards)
    reward = (rng.random(rewards) < np.array([0.2, 0.3, 0.6])[arm]).astype(float)
    return policy, policy.learn(snapshot, arm, reward, context(policy, rewards))


@pytest.mark.parametrize("name", NAMES)
def test_at_first_every_arm_has_the_same_chance(name: str) -> None:
    policy, snapshot = start(name)
    given = Decider(policy, snapshot).propensities(4, context(policy, 4))
    assert given == pytest.approx(np.full((4, 3), 1 / 3), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("epsilon", [0.01, 0.1, 1 / 3])
def test_probabilities_add_up_and_stay_above_the_floor(name: str, epsilon: float) -> None:
    policy, snapshot = learnt(name, epsilon=epsilon)
    given = Decider(policy, snapshot).propensities(500, context(policy, 500, seed=9))
    assert given.sum(axis=1) == pytest.approx(np.ones(500), abs=1e-12)
    assert given.min() >= epsilon - 1e-15


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_propensity_is_that_of_the_chosen_arm_and_arms_come_as_often(name: str) -> None:
    policy, snapshot = learnt(name, epsilon=0.1)
    seen = context(policy, 20_000, seed=11)
    decider = Decider(policy, snapshot)
    decided = decider.many(units(20_000), seen)
    each = decider.propensities(20_000, seen)
    assert np.array_equal(decided.propensity, each[np.arange(20_000), decided.arm])
    expected, got = each.sum(axis=0), np.bincount(decided.arm, minlength=3)
    spread = np.sqrt((each * (1 - each)).sum(axis=0))
    assert (np.abs(got - expected) < 4 * spread).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_decision_depends_on_its_own_unit_and_context_only(name: str) -> None:
    policy, snapshot = learnt(name)
    seen = context(policy, 200, seed=12)
    decider = Decider(policy, snapshot)
    whole = decider.many(units(200), seen)
    backwards = decider.many(units(200)[::-1], None if seen is None else seen[::-1])
    assert np.array_equal(whole.arm, backwards.arm[::-1])
    assert np.array_equal(whole.propensity, backwards.propensity[::-1])
    for row in (0, 7, 199):
        arm, propensity, explored = decider.one(f"user-{row}", None if seen is None else seen[row].tolist())
        assert (arm, propensity, explored) == (
            ARMS[whole.arm[row]],
            float(whole.propensity[row]),
            bool(whole.explored[row]),
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_that_was_written_and_read_replays_bit_for_bit(name: str) -> None:
    policy, snapshot = learnt(name)
    again = Snapshot.model_validate(json.loads(json.dumps(snapshot.document())))
    assert again == snapshot
    assert again.content_digest() == snapshot.content_digest()
    seen = context(policy, 1000, seed=13)
    first, second = (Decider(policy, each).many(units(1000), seen) for each in (snapshot, again))
    assert first.arm.tobytes() == second.arm.tobytes()
    assert first.propensity.tobytes() == second.propensity.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_another_snapshot_and_another_experiment_draw_anew(name: str) -> None:
    policy, snapshot = start(name, epsilon=1 / 3)
    seen = context(policy, 1000)
    drawn = [
        Decider(policy, each).many(units(1000), seen).arm
        for each in (
            snapshot,
            snapshot.model_copy(update={"number": 1}),
            snapshot.model_copy(update={"experiment": "other"}),
        )
    ]
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert 250 < int((drawn[one] == drawn[other]).sum()) < 420, "a third agree by chance"


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_the_same_from_the_same_and_in_parts_as_at_once(name: str) -> None:
    policy, snapshot = start(name)
    rng = np.random.default_rng(6)
    arm, reward, seen = rng.integers(0, 3, 60), rng.random(60), context(policy, 60)
    before = snapshot.content_digest()
    at_once = policy.learn(snapshot, arm, reward, seen)
    assert policy.learn(snapshot, arm, reward, seen) == at_once
    assert snapshot.content_digest() == before
    assert at_once.number == snapshot.number + 1
    parts = snapshot
    for rows in (slice(0, 25), slice(25, 60)):
        parts = policy.learn(parts, arm[rows], reward[rows], None if seen is None else seen[rows])
    later = context(policy, 50, seed=14)
    assert Decider(policy, parts).propensities(50, later) == pytest.approx(
        Decider(policy, at_once).propensities(50, later), abs=1e-9
    )
    assert [state.count for state in parts.arms] == np.bincount(arm).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_it_prefers_what_paid(name: str) -> None:
    policy, snapshot = learnt(name, rewards=3000)
    given = Decider(policy, snapshot).propensities(200, context(policy, 200, seed=15)).mean(axis=0)
    assert given.argmax() == 2
    assert given[2] > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_regret_is_far_below_drawing_at_random_and_grows_ever_slower(name: str) -> None:
    world = World(base=(0.3, 0.4, 0.6))
    if create_policy(name).contextual:
        world = World(base=(0.5, 0.5, 0.45), slopes=((0.4, 0.0), (-0.4, 0.0), (0.0, 0.1)))
    rounds = 6000
    runs = [regret_of(create_policy(name), world, rounds=rounds, batch=50, seed=seed) for seed in range(4)]
    mean = np.mean(runs, axis=0)
    rng = np.random.default_rng(0)
    chances = world.chances(rng.uniform(-1, 1, (20_000, 2)) if world.slopes else np.zeros((1, 0)))
    at_random = float((chances.max(axis=1) - chances.mean(axis=1)).mean()) * rounds
    assert mean[-1] < 0.35 * at_random
    assert mean[-1] - mean[rounds // 2] < 0.7 * mean[rounds // 2]


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_is_refused_with_the_field(name: str) -> None:
    policy, snapshot = start(name)
    for arm, reward, field in [([0], [1.5], "reward"), ([0], [float("nan")], "reward"), ([3], [1.0], "arm")]:
        with pytest.raises(BadInput) as caught:
            policy.learn(snapshot, np.array(arm), np.array(reward), context(policy, 1))
        assert caught.value.field == field
    with pytest.raises(BadInput, match="epsilon"):
        policy.start("spring", ARMS, epsilon=0.4, ranges=RANGES if policy.contextual else ())
    with pytest.raises(BadInput, match="greater than or equal to"):
        policy.start("spring", ARMS, epsilon=0.001, ranges=RANGES if policy.contextual else ())
    with pytest.raises(BadInput, match="named once"):
        policy.start("spring", ["a", "a"], ranges=RANGES if policy.contextual else ())
    other = create_policy(next(each for each in NAMES if each != name))
    with pytest.raises(BadInput, match="is of policy"):
        Decider(other, snapshot)


def test_the_factory_refuses_what_it_does_not_know_and_lists_what_it_does() -> None:
    with pytest.raises(BadInput, match="'ucb1' is not known") as caught:
        create_policy("ucb1")
    assert caught.value.remedy == "use one of: epsilon_greedy, linucb, thompson"
