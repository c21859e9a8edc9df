"""The e-process on two proportions: an e-variable exactly, powerful, and monotone in the counts."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom

from maestro.decisions.sequential import two_proportions
from maestro.decisions.sequential.hypotheses import Floats, Hypotheses, alternatives, bounds, log_mixture, share
from maestro.decisions.sequential.two_proportions import TwoProportions, nearest_null, update, update_single

ROLLOUTS, LOOKS = 2000, 40
MOST_WRONG = int(binom.ppf(0.999, ROLLOUTS, 0.05))

unit = st.floats(0.001, 0.999)
memories = st.tuples(st.integers(0, 50), st.integers(0, 200), st.integers(0, 20), st.integers(0, 30)).map(
    lambda m: np.array([m[0], m[0] + m[1] + 1, m[2], m[2] + m[3]], dtype=np.float64)
)


@pytest.mark.shows("H6", env="laptop")
@settings(max_examples=60, deadline=None)
@given(
    n_a=st.integers(1, 6),
    n_b=st.integers(1, 6),
    memory=memories,
    harm=st.floats(-0.3, 0.5),
    promote=st.floats(-0.3, 0.9),
    scale=st.floats(0.005, 0.3),
)
def test_each_look_multiplies_by_an_e_variable(
    n_a: int, n_b: int, memory: Floats, harm: float, promote: float, scale: float
) -> None:
    """Summed over every outcome of a look, the expected wealth is at most 1 under every pair of rates of the null."""
    hypotheses = Hypotheses((harm,), (promote,), scale)
    outcomes = np.array(list(product(range(n_a + 1), range(n_b + 1))), dtype=np.float64)
    shape = (len(outcomes),)
    before = TwoProportions.start(hypotheses, shape)
    before.memory[:] = memory
    looks = np.stack([outcomes[:, 0], np.full(shape, n_a), outcomes[:, 1], np.full(shape, n_b)], -1)
    wealth = np.exp(update(hypotheses, before, looks).log_wealth)
    grid = np.linspace(0.0, 1.0, 41)
    for null, sign, threshold in ((0, 1.0, harm), (1, -1.0, promote)):
        edge = np.clip(np.stack([grid, grid + threshold], -1), 0, 1)
        inside = np.array([(a, b) for a, b in (*product(grid, grid), *edge) if sign * (b - a - threshold) <= 1e-12])
        # by logarithms: scipy's pmf overflows where a rate is next to zero
        chances = np.exp(
            binom.logpmf(outcomes[:, 0], n_a, inside[:, :1]) + binom.logpmf(outcomes[:, 1], n_b, inside[:, 1:])
        )
        assert np.max(chances @ wealth[:, null, :]) <= 1 + 1e-9


@settings(max_examples=100, deadline=None)
@given(a=unit, b=unit, n_a=st.integers(1, 10_000), n_b=st.integers(1, 10_000), difference=st.floats(-0.8, 0.8))
def test_the_nearest_null_is_the_minimum(a: float, b: float, n_a: int, n_b: int, difference: float) -> None:
    def distance(x: float) -> float:
        y = x + difference
        kl_a = a * np.log(a / x) + (1 - a) * np.log((1 - a) / (1 - x))
        return float(n_a * kl_a + n_b * (b * np.log(b / y) + (1 - b) * np.log((1 - b) / (1 - y))))

    found = float(nearest_null(*(np.array([float(value)]) for value in (a, b, n_a, n_b, difference)))[0])
    low, high = max(0.0, -difference), min(1.0, 1.0 - difference)
    peer = minimize_scalar(distance, bounds=(low + 1e-9, high - 1e-9), method="bounded", options={"xatol": 1e-12})
    assert low < found < high
    assert distance(found) <= float(peer.fun) * (1 + 1e-9) + 1e-9


@settings(max_examples=80, deadline=None)
@given(memory=memories, n=st.integers(1, 300), bad_a=st.integers(0, 300), bad_b=st.integers(0, 299))
def test_more_bad_events_in_the_challenger_never_speak_for_it(memory: Floats, n: int, bad_a: int, bad_b: int) -> None:
    bad_a, bad_b = min(bad_a, n), min(bad_b, n - 1)
    hypotheses = Hypotheses((0.01,), (0.05,), 0.05)
    before = TwoProportions.start(hypotheses)
    before.memory[:] = memory
    fewer = update(hypotheses, before, np.array([bad_a, n, bad_b, n])).log_wealth
    more = update(hypotheses, before, np.array([bad_a, n, bad_b + 1, n])).log_wealth
    assert np.all(more[0] >= fewer[0])
    assert np.all(more[1] <= fewer[1])


def test_an_alternative_inside_the_null_bets_nothing() -> None:
    hypotheses = Hypotheses((0.5,), (), 0.1)
    before = TwoProportions.start(hypotheses, baseline=(1, 100))
    _, challenger = alternatives(hypotheses, before.memory)
    assert challenger[0, 2] < 0.5
    after = update(hypotheses, before, np.array([1, 10, 9, 10]))
    assert after.log_wealth[0, 2] == 0.0
    assert after.log_wealth[0, 0] > 0.0


@pytest.mark.parametrize("counts", [[0, 0, 0, 0], [0, 50, 0, 0], [0, 0, 0, 50]])
def test_a_look_with_an_empty_arm_is_no_evidence(counts: list[int]) -> None:
    hypotheses = Hypotheses((0.005,), (0.02,), 0.02)
    after = update(hypotheses, TwoProportions.start(hypotheses, baseline=(0, 1000)), np.array(counts))
    assert not after.log_wealth.any()


def run(
    hypotheses: Hypotheses, champion: Floats, difference: float, share: Floats, size: int, seed: int
) -> tuple[TwoProportions, Floats]:
    """Looks of `size` events with the champion's rate and the challenger's share given by look; and what each reached when."""
    rng = np.random.default_rng(seed)
    evidence = TwoProportions.start(hypotheses, (ROLLOUTS,))
    reached = np.full((ROLLOUTS, hypotheses.count), np.inf)
    seen = np.zeros(ROLLOUTS)
    for rate, part in zip(champion, share, strict=True):
        n_b = rng.binomial(size, part, ROLLOUTS)
        counts = (rng.binomial(size - n_b, rate), size - n_b, rng.binomial(n_b, rate + difference), n_b)
        evidence = update(hypotheses, evidence, np.stack(counts, -1))
        seen += n_b
        reached = np.where(np.isinf(reached) & (evidence.peak >= np.log(20)), seen[:, None], reached)
    return evidence, reached


RISING = np.linspace(0.02, 0.3, LOOKS)
"""A base rate that grows while the weights do: pooled counts would see a difference where there is none."""

LADDER = np.repeat([0.01, 0.1, 0.5, 0.9], LOOKS // 4)


@pytest.mark.shows("H6", env="laptop")
@pytest.mark.parametrize("size", [40, 400])
@pytest.mark.parametrize("champion", [np.full(LOOKS, 0.002), np.full(LOOKS, 0.3), RISING, RISING[::-1]])
def test_peeking_and_moving_weights_never_raise_the_error_rate(champion: Floats, size: int) -> None:
    threshold = 0.04
    hypotheses = Hypotheses((threshold,), (threshold,), 0.04)
    evidence, _ = run(hypotheses, champion, threshold, LADDER, size, seed=11)
    wrong = (evidence.peak >= np.log(20)).sum(0)
    assert wrong.max() <= MOST_WRONG


@pytest.mark.shows("H8", env="laptop")
def test_a_clean_challenger_needs_little_more_than_the_least_possible() -> None:
    """Where nothing is bad, log(1/alpha) / margin of the challenger's events are the least that any test needs."""
    hypotheses = Hypotheses((0.005,), (0.02,), 0.02)
    _, reached = run(hypotheses, np.zeros(LOOKS), 0.0, np.full(LOOKS, 0.5), 50, seed=3)
    least = np.log(20) / -np.log1p(-0.02)
    assert least < np.quantile(reached[:, 1], 0.8) < 1.8 * least


@pytest.mark.shows("H8", env="laptop")
def test_a_bad_challenger_is_found_early() -> None:
    hypotheses = Hypotheses((0.015,), (0.06,), 0.06)
    _, reached = run(hypotheses, np.full(LOOKS, 0.28), 0.17, np.full(LOOKS, 0.1), 400, seed=4)
    assert np.mean(np.isfinite(reached[:, 0])) >= 0.99
    assert np.quantile(reached[:, 0], 0.8) <= 300


@pytest.mark.shows("H6", env="laptop")
def test_bounds_cover_the_difference_at_all_looks() -> None:
    ladder = tuple(np.round(np.arange(-0.05, 0.16, 0.05), 2))
    hypotheses = Hypotheses(ladder, ladder, 0.04)
    evidence, _ = run(hypotheses, np.full(20, 0.1), 0.05, np.full(20, 0.5), 400, seed=5)
    lower, upper = bounds(hypotheses, evidence.peak, 0.05, 0.05)
    assert (lower >= 0.05).sum() <= MOST_WRONG
    assert (upper <= 0.05).sum() <= MOST_WRONG
    assert np.median(upper - lower) <= 0.15


def test_a_challenger_alone_is_held_to_its_limit() -> None:
    """One-sample looks: at the limit rarely refuted, well above it soon; the wealth of each look is an e-variable."""
    rng = np.random.default_rng(6)
    hypotheses = Hypotheses((0.005,), (), 0.02)
    limit = np.full(ROLLOUTS, 0.02)
    at_limit, above = TwoProportions.start(hypotheses, (ROLLOUTS,)), TwoProportions.start(hypotheses, (ROLLOUTS,))
    sizes = np.full(ROLLOUTS, 100.0)
    for _ in range(LOOKS):
        at_limit = update_single(hypotheses, at_limit, rng.binomial(100, 0.02, ROLLOUTS).astype(float), sizes, limit)
        above = update_single(hypotheses, above, rng.binomial(100, 0.06, ROLLOUTS).astype(float), sizes, limit)
    assert (at_limit.peak[:, 0] >= np.log(20)).sum() <= MOST_WRONG
    assert np.mean(above.peak[:, 0] >= np.log(20)) >= 0.99


def test_the_mixture_is_the_mean_of_wealths() -> None:
    wealth = np.array([[2.0, 4.0, 0.0]])
    with np.errstate(divide="ignore"):
        assert log_mixture(np.log(wealth))[0] == pytest.approx(np.log(2.0))


def test_the_peak_keeps_what_was_once_shown() -> None:
    hypotheses = Hypotheses((0.005,), (0.05,), 0.05)
    evidence = TwoProportions.start(hypotheses, baseline=(0, 1000))
    for _ in range(5):
        evidence = update(hypotheses, evidence, np.array([0, 100, 0, 100]))
    high = evidence.peak[1]
    assert high >= np.log(20)
    evidence = update(hypotheses, evidence, np.array([0, 100, 30, 100]))
    assert evidence.peak[1] == high
    assert log_mixture(evidence.log_wealth)[1] < high


@pytest.mark.parametrize("arguments", [((1.0,), (), 0.1), ((), (-1.0,), 0.1), ((0.1,), (), 0.0)])
def test_impossible_thresholds_are_refused(arguments: tuple[tuple[float, ...], tuple[float, ...], float]) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        Hypotheses(*arguments)


def test_memory_chooses_bets_only() -> None:
    """Discounting is by look, so that evidence stays a product over looks."""
    hypotheses = Hypotheses((0.005,), (0.02,), 0.02)
    after = update(hypotheses, TwoProportions.start(hypotheses, baseline=(10, 100)), np.array([1, 20, 2, 30]))
    expected = two_proportions.DISCOUNT * np.array([10, 100, 0, 0]) + [1, 20, 2, 30]
    assert after.memory == pytest.approx(expected)


def test_a_challenger_that_fails_late_is_found_as_soon_as_one_that_fails_early() -> None:
    hypotheses = Hypotheses((0.005,), (0.02,), 0.02)
    looks_needed = []
    for clean in (1, 300):
        evidence = TwoProportions.start(hypotheses, baseline=(0, 1000))
        for _ in range(clean):
            evidence = update(hypotheses, evidence, np.array([1, 500, 1, 500]))
        looks = 0
        while evidence.peak[0] < np.log(60):
            evidence = update(hypotheses, evidence, np.array([1, 500, 50, 500]))
            looks += 1
        looks_needed.append(looks)
    assert looks_needed == [1, 1]


def test_sharing_wealth_neither_makes_nor_loses_any() -> None:
    hypotheses = Hypotheses((0.005, 0.01), (0.02,), 0.02)
    wealth = np.random.default_rng(1).normal(0, 30, (50, 3, 3))
    shared = share(hypotheses, wealth)
    assert log_mixture(shared) == pytest.approx(log_mixture(wealth))
    assert np.array_equal(shared[:, 2], wealth[:, 2])
    assert np.all(shared[:, :2].min(-1) > log_mixture(wealth)[:, :2] + np.log(0.01) - 1e-9)
