"""LinUCB: the updates are ridge regression, the context decides."""

from __future__ import annotations

import numpy as np
import pytest

from maestro.core.errors import BadInput
from maestro.decisions.bandits import Decider
from maestro.decisions.bandits.linucb import LinUcbPolicy, design

RANGES = ((0.0, 10.0), (-5.0, 5.0))


def test_rank_one_updates_are_the_inverse_of_the_design_matrix() -> None:
    rng = np.random.default_rng(2)
    policy = LinUcbPolicy()
    snapshot = policy.start("e", ["a", "b"], ranges=RANGES)
    arm, reward = rng.integers(0, 2, 500), rng.random(500)
    context = np.stack([rng.uniform(0, 10, 500), rng.uniform(-5, 5, 500)], axis=1)
    learnt = policy.learn(snapshot, arm, reward, context)
    for position, state in enumerate(learnt.arms):
        x = design(snapshot, context)[arm == position]
        matrix = np.eye(3) + x.T @ x
        assert np.array(state.inverse) == pytest.approx(np.linalg.inv(matrix), abs=1e-10)
        assert np.array(state.response) == pytest.approx(x.T @ reward[arm == position])


def test_each_context_gets_its_own_best_arm() -> None:
    rng = np.random.default_rng(3)
    policy = LinUcbPolicy()
    snapshot = policy.start("e", ["low", "high"], ranges=[(0.0, 10.0)])
    context = rng.uniform(0, 10, (4000, 1))
    arm = rng.integers(0, 2, 4000)
    reward = (rng.random(4000) < np.where(arm == 1, context[:, 0] / 10, 1 - context[:, 0] / 10)).astype(float)
    decider = Decider(policy, policy.learn(snapshot, arm, reward, context))
    given = decider.propensities(2, np.array([[1.0], [9.0]]))
    assert given.round(6).tolist() == [[0.99, 0.01], [0.01, 0.99]]


def test_numbers_are_scaled_clipped_and_missing_ones_are_the_middle() -> None:
    snapshot = LinUcbPolicy().start("e", ["a", "b"], ranges=[(0.0, 10.0), (3.0, 3.0)])
    rows = design(snapshot, np.array([[0.0, 3.0], [10.0, 4.0], [1e9, np.nan], [np.nan, 3.0]]))
    assert rows.tolist() == [[-1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [2.0, 0.0, 1.0], [0.0, 0.0, 1.0]]


def test_without_a_context_it_says_what_it_needs() -> None:
    policy = LinUcbPolicy()
    with pytest.raises(BadInput, match="acts on a context"):
        policy.start("e", ["a", "b"])
    decider = Decider(policy, policy.start("e", ["a", "b"], ranges=RANGES))
    for context in (None, np.zeros((1, 3))):
        with pytest.raises(BadInput, match="needs a context of 1 × 2 numbers"):
            decider.many(["u"], context)
