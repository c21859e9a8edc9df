"""One verdict from three ways of looking, for every kind of metric."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from maestro.decisions import group_sequential
from maestro.decisions.comparison import Means, Metric, Mode, Proportions, Quantiles, Rule, compare
from maestro.decisions.cuped import difference
from maestro.decisions.moments import Moments
from maestro.decisions.sequential import two_proportions
from maestro.decisions.sequential.hypotheses import Hypotheses

MODES: tuple[Mode, ...] = ("fixed", "planned", "always_valid")


def _means(shift: float, n: int = 5000, seed: int = 1) -> Means:
    rng = np.random.default_rng(seed)
    return Means(difference(Moments.of(rng.normal(0.0, 1.0, n)), Moments.of(rng.normal(shift, 1.0, n))))


def _events(rate: float, other: float, looks: int = 50, seed: int = 1) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    n = np.full(looks, 100)
    return np.stack([rng.binomial(n, rate), n, rng.binomial(n, other), n], axis=1).astype(np.float64)


def _quantiles(factor: float, n: int = 5000, seed: int = 1) -> Quantiles:
    rng = np.random.default_rng(seed)
    return Quantiles(rng.exponential(1.0, n), rng.exponential(factor, n), 0.9)


@pytest.mark.shows("H6", "H8", env="laptop")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (_means(0.2), _means(-0.2)),
        (Proportions(_events(0.2, 0.3)), Proportions(_events(0.3, 0.2))),
        (Proportions(_events(0.2, 0.3), correlated=True), Proportions(_events(0.3, 0.2), correlated=True)),
        (_quantiles(1.5), _quantiles(0.7)),
    ],
)
def test_winner_and_harm_in_every_mode(mode: Mode, better: Metric, worse: Metric) -> None:
    up, down = (Rule(mode, 10_000, 0.05, higher_is_better=higher) for higher in (True, False))
    assert compare(better, up).verdict == "winner"
    assert compare(worse, up).verdict == "harm"
    assert compare(better, down).verdict == "harm"
    assert compare(worse, down).verdict == "winner"
    found = compare(better, up)
    assert found.lower is not None
    assert found.upper is not None
    assert 0.0 <= found.lower <= found.estimate <= found.upper


@pytest.mark.shows("H8", env="laptop")
@pytest.mark.parametrize("mode", MODES)
def test_no_difference_at_the_horizon_is_futile(mode: Mode) -> None:
    assert compare(_means(0.0), Rule(mode, 10_000, 0.2)).verdict == "futile"


@pytest.mark.shows("H8", env="laptop")
def test_futility_before_the_horizon() -> None:
    early = compare(_means(0.0), Rule("always_valid", 100_000, 0.2))
    assert early.verdict == "futile"
    assert "worth having" in early.reason
    assert compare(_means(0.0), Rule("always_valid", 100_000, 0.02)).verdict == "keep_going"
    design = group_sequential.plan(looks=4, futility=group_sequential.Spending())
    planned = compare(_means(-0.01), Rule("planned", 20_000, 0.05, plan=design), earlier=(5_000,))
    assert planned.verdict == "futile"


@pytest.mark.shows("H6", env="laptop")
def test_the_fixed_mode_shows_nothing_before_its_horizon() -> None:
    found = compare(_means(0.5), Rule("fixed", 20_000, 0.05))
    assert (found.verdict, found.lower, found.upper, found.p_value) == ("keep_going", None, None, None)


@pytest.mark.shows("H6", env="laptop")
def test_always_valid_proportions_keep_their_error_rate() -> None:
    """2,000 A/A tests of 20 looks, against the two nulls at 0 that decide between winner and harm."""
    rollouts = 2_000
    rng = np.random.default_rng(12)
    hypotheses = Hypotheses(above=(0.0,), below=(0.0,), scale=0.05)
    evidence = two_proportions.TwoProportions.start(hypotheses, (rollouts,))
    looks = []
    for _ in range(20):
        n = np.full(rollouts, 100)
        looks.append(np.stack([rng.binomial(n, 0.2), n, rng.binomial(n, 0.2), n], axis=1).astype(np.float64))
        evidence = two_proportions.update(hypotheses, evidence, looks[-1])
    lower, upper = two_proportions.bounds(hypotheses, evidence.peak, 0.025, 0.025)
    wrong = (lower >= 0.0) | (upper <= 0.0)
    assert int(wrong.sum()) <= stats.binom.ppf(0.999, rollouts, 0.05)
    # The same verdict through the front, on some of them.
    rule = Rule("always_valid", 2_000_000, 0.05)
    for i in [*np.flatnonzero(wrong)[:5], *range(5)]:
        found = compare(Proportions(np.stack([look[i] for look in looks])), rule)
        assert (found.verdict in {"winner", "harm"}) == wrong[i]


def test_empty_arms_keep_going() -> None:
    nothing = Proportions(np.zeros((0, 4)))
    for metric in (nothing, Quantiles([], [1.0], 0.5), Means(difference(Moments.of([]), Moments.of([])))):
        for mode in MODES:
            assert compare(metric, Rule(mode, 1000, 0.05)).verdict == "keep_going"


def test_wrong_rules_and_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="minimum_effect"):
        Rule("fixed", 100, 0.0)
    with pytest.raises(ValueError, match="known: fixed"):
        Rule("bayes", 100, 0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="events"):
        compare(Proportions([[5, 4, 0, 1]]), Rule("fixed", 2, 0.1))
