"""Exact anytime-valid comparison of two Bernoulli streams, stratified by look.

For a look with counts n_a, x_a, n_b, x_b and a null set H0 that is convex in the pair of rates, the ratio
S = likelihood(alternative) / likelihood(nearest null) is an e-variable when the nearest null minimises
n_a KL(alternative_a || null_a) + n_b KL(alternative_b || null_b) over H0. For log E[S] is a sum of n_a and n_b times logs of
functions linear in the rates, thus concave over H0, and its gradient at the nearest null is minus that of the sum
above: by the conditions of Karush, Kuhn and Tucker its maximum over H0 is there, where it is 0. It holds for any
counts, for rates that drift (only each look's difference has to lie in H0) and for any weights, and log S adds over looks.

Source: Turner, Ly and Grünwald (2024), Generic E-variables for exact sequential k-sample tests that allow for optional
stopping; Turner and Grünwald (2023), Exact anytime-valid confidence intervals for contingency tables and beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maestro.decisions.sequential.hypotheses import (
    STRATEGIES,
    Floats,
    Hypotheses,
    alternatives,
    bounds,
    log_mixture,
    share,
)

__all__ = ["TwoProportions", "bounds", "nearest_null", "update", "update_single"]

DISCOUNT = 0.95
"""What a look leaves of the memory of earlier ones. Memory chooses alternatives; it never touches validity."""


@dataclass(frozen=True)
class TwoProportions:
    """Evidence of one or many comparisons; leading dimensions are independent comparisons.

    Args:
        log_wealth: (..., nulls, strategies) log wealth of each strategy.
        peak: (..., nulls) the largest log e-value so far (Ville's inequality bounds it, not only the last one).
        memory: (..., 4) discounted bad and all events of the champion, then of the challenger.
    """

    log_wealth: Floats
    peak: Floats
    memory: Floats

    @classmethod
    def start(
        cls, hypotheses: Hypotheses, shape: tuple[int, ...] = (), baseline: tuple[int, int] = (0, 0)
    ) -> TwoProportions:
        """No evidence. `baseline` is the champion's (bad, all) from before: it only helps to choose alternatives.

        Without a baseline the first look teaches the alternatives and adds no evidence.
        """
        memory = np.zeros((*shape, 4))
        memory[..., :2] = baseline
        return cls(np.zeros((*shape, hypotheses.count, STRATEGIES)), np.zeros((*shape, hypotheses.count)), memory)


def update(hypotheses: Hypotheses, evidence: TwoProportions, counts: Floats) -> TwoProportions:
    """Add one look.

    Args:
        hypotheses: the nulls.
        evidence: what earlier looks left.
        counts: (..., 4) bad and all events of the champion, bad and all of the challenger, since the look before.

    Only looks with events in both arms add evidence.

    >>> h = Hypotheses(above=(0.005,), below=(0.02,), scale=0.02)
    >>> e = TwoProportions.start(h, baseline=(0, 1000))
    >>> for _ in range(10):
    ...     e = update(h, e, np.array([0, 20, 0, 20]))
    >>> [float(bound) for bound in bounds(h, e.peak, 0.05, 0.05)]
    [-1.0, 0.02]
    """
    counts = np.asarray(counts, dtype=np.float64)
    a1, b1 = alternatives(hypotheses, evidence.memory)
    shape = a1.shape
    thresholds = np.broadcast_to(hypotheses.thresholds[:, None], shape)
    outside = hypotheses.signs[:, None] * (b1 - a1 - thresholds) > 0
    known = (evidence.memory[..., 1] > 0) & (counts[..., 1] > 0) & (counts[..., 3] > 0)
    active = np.nonzero(outside & known[..., None, None])
    each = active[:-2]
    bad_a, all_a, bad_b, all_b = (counts[..., column][each] for column in range(4))
    a, b, c = a1[active], b1[active], thresholds[active]
    a0 = nearest_null(a, b, all_a, all_b, c)
    gain = np.zeros(shape)
    gain[active] = _log_ratio(bad_a, all_a, a, a0) + _log_ratio(bad_b, all_b, b, a0 + c)
    log_wealth = share(hypotheses, evidence.log_wealth) + gain
    return TwoProportions(
        log_wealth, np.maximum(evidence.peak, log_mixture(log_wealth)), DISCOUNT * evidence.memory + counts
    )


def update_single(
    hypotheses: Hypotheses, evidence: TwoProportions, bad: Floats, total: Floats, limit: Floats
) -> TwoProportions:
    """Add one look at the challenger alone, to the nulls `d <= c`: here their null is that its rate is at most `limit`.

    A product of e-variables of different strata is one, so the same error probability covers both kinds of look.

    Args:
        hypotheses: the nulls; those of `below` gain nothing.
        evidence: what earlier looks left.
        bad: (...,) bad events since the look before.
        total: (...,) all events since the look before.
        limit: (...,) the rate in (0, 1) that the challenger may have.
    """
    split = len(hypotheses.above)
    rate = (evidence.memory[..., 2] + 0.5) / (evidence.memory[..., 3] + 1.0)
    steps = np.array([1.0, 3.0]) * hypotheses.scale
    guesses = np.concatenate([limit[..., None] + steps, rate[..., None]], -1)
    guesses = np.clip(guesses, limit[..., None], 1 - hypotheses.floor)
    null = np.broadcast_to(limit[..., None], guesses.shape)
    gain = np.where(guesses > null, _log_ratio(bad[..., None], total[..., None], np.maximum(guesses, null), null), 0.0)
    log_wealth = share(hypotheses, evidence.log_wealth)
    log_wealth[..., :split, :] += gain[..., None, :]
    nothing = np.zeros_like(bad)
    memory = DISCOUNT * evidence.memory + np.stack([nothing, nothing, bad, total], -1)
    return TwoProportions(log_wealth, np.maximum(evidence.peak, log_mixture(log_wealth)), memory)


def nearest_null(a: Floats, b: Floats, n_a: Floats, n_b: Floats, difference: Floats) -> Floats:
    """The champion's rate x that minimises n_a KL(a || x) + n_b KL(b || x + difference).

    Rates a and b lie strictly inside (0, 1), counts are positive, all arrays have one shape. The derivative times
    x (1 - x) (x + difference) (1 - x - difference) is a cubic with one root between a and b - difference in the domain, found by
    Newton's steps that fall back on bisection.

    >>> nearest_null(*(np.array([v]) for v in (0.1, 0.1, 50.0, 50.0, 0.1))).round(6)
    array([0.068676])
    """
    c = difference
    low = np.maximum(np.minimum(a, b - c), np.maximum(0.0, -c))
    high = np.minimum(np.maximum(a, b - c), np.minimum(1.0, 1.0 - c))
    precision_a, precision_b = n_a / (a * (1 - a)), n_b / (b * (1 - b))
    x = np.clip((precision_a * a + precision_b * (b - c)) / (precision_a + precision_b), low, high)
    for _ in range(100):
        y = x + c
        value = n_a * (x - a) * y * (1 - y) + n_b * (y - b) * x * (1 - x)
        slope = n_a * (y * (1 - y) + (x - a) * (1 - 2 * y)) + n_b * (x * (1 - x) + (y - b) * (1 - 2 * x))
        low, high = np.where(value < 0, x, low), np.where(value > 0, x, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = x - value / slope
        inside = (step > low) & (step < high)
        following = np.where(value == 0, x, np.where(inside, step, (low + high) / 2))
        done = np.all(np.abs(following - x) <= 1e-15)
        x = following
        if done:
            break
    return x


def _log_ratio(bad: Floats, total: Floats, rate: Floats, null: Floats) -> Floats:
    ratio: Floats = bad * np.log(rate / null) + (total - bad) * np.log((1 - rate) / (1 - null))
    return ratio
