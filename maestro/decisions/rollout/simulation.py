"""Many rollouts at once, by the tests and the rules that `step` uses, on traffic that is drawn from a seeded generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from maestro.core.policy import RolloutPolicy
from maestro.decisions.rollout.metric_test import Evidence, Flags, MetricTest, metric_tests
from maestro.decisions.sequential.hypotheses import Floats
from maestro.decisions.sequential.two_proportions import TwoProportions, update_single

Indices = NDArray[np.intp]
_Kind = TypeVar("_Kind", bound=Evidence)

UNDECIDED, ROLLED_BACK, PROMOTED = 0, 1, 2


class Traffic(Protocol):
    """What the arms experience.

    Obligations: `draw` is called once a look, in order; it uses no randomness but `rng`; difference and rates are its own affair.
    """

    def draw(
        self, look: int, share: Floats, rung_look: Indices, which: Indices, rng: np.random.Generator
    ) -> Mapping[str, Floats]:
        """The counts of a look.

        Args:
            look: looks before this one.
            share: (n,) the challenger's share of the traffic in each rollout, in [0, 1].
            rung_look: (n,) looks before this one on the present rung.
            which: (n,) the rollouts that are still going, as indices.
            rng: the generator.

        Returns:
            By metric (n, 4) bad and all of the champion, bad and all of the challenger; for latency (n, blocks, 4).
        """
        ...


@dataclass(frozen=True)
class Outcomes:
    """What became of each simulated rollout.

    Args:
        verdict: (rollouts,) UNDECIDED, ROLLED_BACK or PROMOTED.
        looks: (rollouts,) looks taken.
        left: (rollouts, rungs) looks taken until a rung was left upwards, inf where it never was; the last column is the end of the bake.
        events: (rollouts, rungs, metrics) the challenger's events by then.
    """

    verdict: NDArray[np.int8]
    looks: NDArray[np.int64]
    left: Floats
    events: Floats


def simulate(
    policy: RolloutPolicy, traffic: Traffic, *, rollouts: int, looks: int, bake_looks: int, seed: int
) -> Outcomes:
    """Run `rollouts` rollouts for at most `looks` looks each.

    Args:
        policy: the rules; its budget is replaced by `looks`, its bake by `bake_looks`.
        traffic: what the arms experience.
        rollouts: how many.
        looks: where a rollout ends undecided.
        bake_looks: looks on the last rung before the final promotion, at least 1.
        seed: of the generator.
    """
    rng = np.random.default_rng(seed)
    tests = metric_tests(policy, printed=False)
    weights = np.array([rung.weight / 100 for rung in policy.rungs])
    last = len(weights) - 1
    evidence = {test.name: test.start((rollouts,)) for test in tests}
    totals = {test.name: np.zeros((rollouts, 4)) for test in tests}
    limits = {test.name: np.zeros(rollouts) for test in tests if test.event == "error"}
    rung = np.zeros(rollouts, dtype=np.intp)
    rung_look = np.zeros(rollouts, dtype=np.intp)
    rung_seen = np.zeros((rollouts, 2))
    verdict = np.zeros(rollouts, dtype=np.int8)
    taken = np.zeros(rollouts, dtype=np.int64)
    left = np.full((rollouts, last + 1), np.inf)
    events = np.full((rollouts, last + 1, len(tests)), np.inf)

    for look in range(looks):
        going = np.nonzero(verdict == UNDECIDED)[0]
        if going.size == 0:
            break
        counts = traffic.draw(look, weights[rung[going]], rung_look[going], going, rng)
        comparing = rung[going] < last
        seen = np.zeros((going.size, 2))
        for test in tests:
            drawn = counts[test.name]
            _add_look(test, evidence, limits, going, comparing, drawn)
            total = drawn.sum(1) if drawn.ndim == 3 else drawn
            totals[test.name][going] += total
            seen = np.maximum(seen, total[:, [1, 3]])
        rung_seen[going] += seen
        rung_look[going] += 1
        taken[going] += 1

        part = policy.alpha / len(tests)
        harmed = np.logical_or.reduce([test.harmed(evidence[test.name], part)[going] for test in tests])
        climbs = ~harmed & comparing & (rung_seen[going].min(1) > 0)
        for test in tests:
            climbs &= totals[test.name][going][:, [1, 3]].min(1) > 0
            for index in range(last):
                climbs &= (rung[going] != index) | test.earned(evidence[test.name], index, policy.alpha)[going]
        done = ~harmed & ~comparing & (rung_look[going] >= bake_looks) & (rung_seen[going, 1] > 0)

        verdict[going[harmed]] = ROLLED_BACK
        verdict[going[done]] = PROMOTED
        up = going[climbs | done]
        left[up, rung[up]] = taken[up]
        for column, test in enumerate(tests):
            events[up, rung[up], column] = totals[test.name][up, 3]
        rung[going[climbs]] += 1
        rung_look[going[climbs]] = 0
        rung_seen[going[climbs]] = 0
        for test in tests:
            if test.name in limits:
                champion = totals[test.name][:, 0] / np.maximum(totals[test.name][:, 1], 1)
                entered = going[climbs & (rung[going] == last)]
                limits[test.name][entered] = np.minimum(champion[entered] + test.margin, 0.999)
    return Outcomes(verdict, taken, left, events)


def _add_look(
    test: MetricTest,
    evidence: dict[str, Evidence],
    limits: Mapping[str, Floats],
    going: Indices,
    comparing: Flags,
    drawn: Floats,
) -> None:
    held = evidence[test.name]
    compared, baking = going[comparing], going[~comparing]
    if compared.size:
        part: Evidence = _take(held, compared)
        for block in np.moveaxis(drawn[comparing], 1, 0) if drawn.ndim == 3 else (drawn[comparing],):
            part = test.update(part, block)
        _put(held, compared, part)
    if baking.size and test.name in limits and isinstance(held, TwoProportions):
        bad, total = drawn[~comparing, 2], drawn[~comparing, 3]
        alone = update_single(test.hypotheses, _take(held, baking), bad, total, limits[test.name][baking])
        _put(held, baking, alone)


def _take(evidence: _Kind, which: Indices) -> _Kind:
    return type(evidence)(evidence.log_wealth[which], evidence.peak[which], evidence.memory[which])


def _put(evidence: Evidence, which: Indices, part: Evidence) -> None:
    evidence.log_wealth[which] = part.log_wealth
    evidence.peak[which] = part.peak
    evidence.memory[which] = part.memory
