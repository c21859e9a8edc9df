"""Betting on blocks: exact in expectation, and right where events inside and between blocks are correlated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from maestro.decisions.sequential.bounded_mean import BoundedMean, update
from maestro.decisions.sequential.hypotheses import Floats, Hypotheses

ROLLOUTS, SECONDS = 2000, 120
MOST_WRONG = int(binom.ppf(0.999, ROLLOUTS, 0.05))


@pytest.mark.shows("H6", env="laptop")
@settings(max_examples=100, deadline=None)
@given(
    n_a=st.integers(1, 300),
    n_b=st.integers(1, 300),
    bad_a=st.integers(0, 100),
    seen=st.integers(0, 300),
    squares=st.floats(0, 500),
    harm=st.floats(-0.5, 0.9),
    promote=st.floats(-0.5, 0.9),
)
def test_each_block_multiplies_by_an_e_variable(
    n_a: int, n_b: int, bad_a: int, seen: int, squares: float, harm: float, promote: float
) -> None:
    """A block that is all bad in one arm or the other, with chances that put the mean on the threshold: expected wealth 1."""
    hypotheses = Hypotheses((harm,), (promote,), 0.1)
    before = BoundedMean.start(hypotheses, (2,))
    before.memory[:] = [min(bad_a, seen), seen, 0, seen // 2, squares, seen // 3]
    worst = np.array([[0, n_a, n_b, n_b], [n_a, n_a, 0, n_b]])
    wealth = np.exp(update(hypotheses, before, worst).log_wealth)
    assert np.all(wealth > 0)
    for null, threshold in enumerate((harm, promote)):
        chance = (1 + threshold) / 2
        assert chance * wealth[0, null] + (1 - chance) * wealth[1, null] == pytest.approx(1.0, abs=1e-9)


def test_a_block_with_an_empty_arm_is_skipped() -> None:
    hypotheses = Hypotheses((0.025,), (0.1,), 0.1)
    before = update(hypotheses, BoundedMean.start(hypotheses), np.array([1, 50, 0, 5]))
    for block in ([3, 40, 0, 0], [0, 0, 1, 4], [0, 0, 0, 0]):
        after = update(hypotheses, before, np.array(block))
        assert np.array_equal(after.log_wealth, before.log_wealth)
        assert np.array_equal(after.memory, before.memory)


def test_without_slow_requests_promotion_needs_little_more_than_the_least_possible() -> None:
    hypotheses = Hypotheses((0.025,), (0.1,), 0.1)
    evidence = BoundedMean.start(hypotheses)
    blocks = 0
    while evidence.peak[1] < np.log(20):
        evidence = update(hypotheses, evidence, np.array([0, 190, 0, 2]))
        blocks += 1
    assert np.log(20) / -np.log1p(-0.1) <= blocks <= 36


def stalls(rng: np.random.Generator, difference: float, share: float) -> Floats:
    """(rollouts, seconds, 4) of arms that stall: all requests of a tenth of a second are slow together.

    A stall of an arm follows its own autocorrelated state; the host's state moves the chance of stalls in both arms alike, slowly.
    """
    ticks = SECONDS * 10
    host = np.empty((ROLLOUTS, SECONDS))
    state = rng.standard_normal(ROLLOUTS)
    for second in range(SECONDS):
        state = 0.95 * state + np.sqrt(1 - 0.95**2) * rng.standard_normal(ROLLOUTS)
        host[:, second] = 0.02 + 0.5 * norm.cdf(state)
    base = np.repeat(host, 10, axis=1)
    counts = []
    for part, shift in ((1 - share, 0.0), (share, difference)):
        own = np.empty((ROLLOUTS, ticks))
        state = rng.standard_normal(ROLLOUTS)
        for tick in range(ticks):
            state = 0.5 * state + np.sqrt(0.75) * rng.standard_normal(ROLLOUTS)
            own[:, tick] = state
        sizes = rng.poisson(20 * part, (ROLLOUTS, ticks))
        slow = sizes * (norm.cdf(own) < base + shift)
        counts += [slow.reshape(ROLLOUTS, SECONDS, 10).sum(2), sizes.reshape(ROLLOUTS, SECONDS, 10).sum(2)]
    return np.stack(counts, -1).astype(np.float64)


@pytest.mark.shows("H6", "F4", env="laptop")
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_correlated_latency_never_raises_the_error_rate(share: float) -> None:
    threshold = 0.05
    hypotheses = Hypotheses((threshold,), (threshold,), 0.1)
    evidence = BoundedMean.start(hypotheses, (ROLLOUTS,))
    for block in np.moveaxis(stalls(np.random.default_rng(7), threshold, share), 1, 0):
        evidence = update(hypotheses, evidence, block)
    wrong = (evidence.peak >= np.log(20)).sum(0)
    assert wrong.max() <= MOST_WRONG


@pytest.mark.shows("F4", env="laptop")
def test_a_latency_spike_is_found_and_equal_arms_are_cleared() -> None:
    rng = np.random.default_rng(8)
    hypotheses = Hypotheses((0.025,), (0.1,), 0.1)
    found = {}
    for difference in (0.0, 0.4):
        evidence = BoundedMean.start(hypotheses, (ROLLOUTS,))
        for _ in range(60):
            bad = rng.binomial(100, 0.05, ROLLOUTS), rng.binomial(100, 0.05 + difference, ROLLOUTS)
            full = np.full(ROLLOUTS, 100)
            evidence = update(hypotheses, evidence, np.stack([bad[0], full, bad[1], full], -1))
        found[difference] = np.mean(evidence.peak >= np.log(20), axis=0)
    assert found[0.0][1] >= 0.99
    assert found[0.4][0] >= 0.99
    assert found[0.4][1] == 0.0
