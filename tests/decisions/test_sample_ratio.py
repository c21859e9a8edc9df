"""Sample-ratio mismatch: a martingale exactly, silent on fair splits, quick on broken ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from maestro.decisions.sample_ratio import LEVEL, SampleRatio, update


@settings(max_examples=50, deadline=None)
@given(share=st.floats(0.01, 0.99), before=st.integers(0, 30), total=st.integers(0, 25), then=st.floats(0.01, 0.99))
def test_the_expected_wealth_of_a_look_is_one(share: float, before: int, total: int, then: float) -> None:
    state = update(SampleRatio.start(shape=(total + 1,)), np.tile([before, 7], (total + 1, 1)), (1 - share, share))
    units = np.arange(total + 1)
    after = update(state, np.stack([total - units, units], -1), (1 - then, then))
    expected = np.sum(binom.pmf(units, total, then) * np.exp(after.log_e - state.log_e))
    assert expected == pytest.approx(1.0, abs=1e-9)


@pytest.mark.shows("H3", env="laptop")
def test_a_fair_split_is_not_accused_whatever_the_weights_do() -> None:
    rng = np.random.default_rng(1)
    rollouts = 4000
    state = SampleRatio.start(shape=(rollouts,))
    for share in np.repeat([0.01, 0.1, 0.5], 20):
        units = rng.binomial(300, share, rollouts)
        state = update(state, np.stack([300 - units, units], -1), (1 - share, share))
    assert state.mismatch().sum() <= binom.ppf(0.999, rollouts, LEVEL)


@pytest.mark.parametrize(("set_share", "real"), [(0.5, 0.47), (0.1, 0.08), (0.01, 0.004)])
def test_a_broken_split_is_found(set_share: float, real: float) -> None:
    rng = np.random.default_rng(2)
    state = SampleRatio.start(shape=(500,))
    for _ in range(40):
        units = rng.binomial(350, real, 500)
        state = update(state, np.stack([350 - units, units], -1), (1 - set_share, set_share))
    assert state.mismatch().mean() >= 0.95


def test_what_was_learnt_survives_a_change_of_weights() -> None:
    """A challenger that loses a fifth of its units: one look at 10 % makes the next look at 50 % stronger."""
    fresh = update(SampleRatio.start(), np.array([560, 440]), (0.5, 0.5))
    first = update(SampleRatio.start(), np.array([9200, 800]), (0.9, 0.1))
    second = update(first, np.array([560, 440]), (0.5, 0.5))
    assert second.log_e - first.log_e > fresh.log_e


@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.5, 0.4)])
def test_shares_that_cannot_be_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        update(SampleRatio.start(), np.array([1, 1]), shares)
