"""Planned-horizon group-sequential tests with alpha spending, and non-binding futility by beta spending.

Sources: Lan and DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 1983; Kim and DeMets 1987
(power family); Pampallona, Tsiatis and Kim 2001 (beta spending). Two-sided: above the upper bound the challenger wins,
below the mirrored lower bound it harms, and below the futility bound it is unlikely to win within the plan.

Futility is non-binding: the efficacy bounds are computed as if it were ignored, so that carrying on after a futile look
never raises the error rate. What it costs in power and saves in users is part of the plan's `operating` figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import optimize, stats

from maestro.decisions.brownian import FAR, Crossing, Walk, check_times, crossing

SpendingKind = Literal["obrien_fleming", "pocock", "power"]


@dataclass(frozen=True, slots=True)
class Spending:
    """How much of an error may be used up by information fraction t.

    `obrien_fleming` spends late (highest power), `pocock` early (earliest stops), `power` spends t^rho of it.
    """

    kind: SpendingKind = "power"
    rho: float = 2.0

    def __post_init__(self) -> None:
        if self.kind not in ("obrien_fleming", "pocock", "power"):
            raise ValueError(f"spending {self.kind!r} is unknown; known: obrien_fleming, pocock, power")
        if self.rho <= 0.0:
            raise ValueError("rho must be positive")

    def spent(self, t: float, error: float) -> float:
        """The one-sided error that may be spent by fraction `t`; all of it from 1 on.

        >>> Spending("power", 2.0).spent(0.5, 0.025)
        0.00625
        """
        t = min(max(t, 0.0), 1.0)
        if t == 0.0:
            return 0.0
        if self.kind == "power":
            return float(error * t**self.rho)
        if self.kind == "pocock":
            return error * math.log(1.0 + (math.e - 1.0) * t)
        return float(2.0 * stats.norm.sf(stats.norm.isf(error / 2.0) / math.sqrt(t)))


@dataclass(frozen=True, slots=True)
class Futility:
    """Beta spending against the design effect: total `beta`, spent by `spending`, at `drift` (expected z at the end)."""

    beta: float
    drift: float
    spending: Spending


def efficacy_bounds(times: Sequence[float], alpha: float = 0.05, spending: Spending | None = None) -> tuple[float, ...]:
    """The upper bounds in z of a two-sided test at the given information fractions; the lower ones are their mirror.

    The fractions need not be the planned ones: each bound depends only on looks up to it.

    >>> [round(b, 3) for b in efficacy_bounds([0.2, 0.4, 0.6, 0.8, 1.0], 0.05, Spending("obrien_fleming"))]
    [4.877, 3.357, 2.68, 2.29, 2.031]
    """
    check_times(times)
    if not 0.0 < alpha < 1.0:
        raise ValueError("alpha must lie inside (0, 1)")
    rule = spending or Spending()
    walk = Walk.start()
    bounds: list[float] = []
    spent = 0.0
    for time in times:
        allowed = rule.spent(time, alpha / 2.0)
        bound = _solve_above(walk, time, allowed - spent)
        spent = allowed
        bounds.append(bound)
        walk = walk.onward(-bound, bound, time)
    return tuple(bounds)


def futility_bounds(times: Sequence[float], efficacy: Sequence[float], futility: Futility) -> tuple[float, ...]:
    """The z at or below which each look is futile: never above the efficacy bound, equal to it at full information.

    >>> times = [0.5, 1.0]
    >>> efficacy = efficacy_bounds(times)
    >>> [round(b, 2) for b in futility_bounds(times, efficacy, Futility(0.1, 3.4, Spending()))]
    [0.44, 2.02]
    """
    check_times(times)
    walk = Walk.start(futility.drift)
    bounds: list[float] = []
    spent = 0.0
    for time, upper in zip(times, efficacy, strict=True):
        allowed = futility.spending.spent(time, futility.beta)
        bound = upper if time >= 1.0 else min(_solve_below(walk, time, allowed - spent), upper)
        spent = allowed
        bounds.append(max(bound, -upper))
        walk = walk.onward(bounds[-1], upper, time)
    return tuple(bounds)


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned design.

    `times` are fractions of the maximum sample, `inflation` is that maximum over the sample of a fixed-horizon test of
    the same nominal power, `drift` the expected z at the maximum sample when the design effect is true.
    """

    alpha: float
    power: float
    times: tuple[float, ...]
    spending: Spending
    efficacy: tuple[float, ...]
    drift: float
    inflation: float
    futility: Futility | None = None
    futile_below: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Operating:
    """What a plan does under one true effect.

    `expected_share` is the mean sample over the maximum sample, `expected_of_fixed` over the fixed-horizon sample.
    """

    winner: float
    harm: float
    futile: float
    undecided: float
    expected_share: float
    expected_of_fixed: float


def fixed_drift(alpha: float, power: float) -> float:
    """The expected z that gives a two-sided fixed-horizon test its power.

    >>> round(fixed_drift(0.05, 0.9), 4)
    3.2415
    """
    if not (0.0 < alpha < 1.0 and alpha / 2.0 < power < 1.0):
        raise ValueError("alpha must lie inside (0, 1) and power between alpha/2 and 1")
    return float(stats.norm.isf(alpha / 2.0) + stats.norm.ppf(power))


def plan(
    *,
    alpha: float = 0.05,
    power: float = 0.9,
    looks: int | Sequence[float] = 20,
    spending: Spending | None = None,
    futility: Spending | None = None,
    maximum: Literal["same", "inflated"] = "same",
) -> Plan:
    """Design a two-sided group-sequential test.

    Args:
        alpha: two-sided error.
        power: of the fixed-horizon test with the same design effect.
        looks: how many evenly spaced looks, or their information fractions, the last being 1.
        spending: of alpha; power family with rho 2 when None.
        futility: how beta is spent; None for no futility bound.
        maximum: `same` keeps the fixed-horizon sample as the maximum and pays in power; `inflated` enlarges it until the
            nominal power is kept (with futility followed).

    Raises:
        ValueError: an argument is out of range, or the last look is not at 1.

    >>> design = plan(looks=20)
    >>> figures = operating(design)
    >>> round(figures.winner / 0.9, 3), round(figures.expected_of_fixed, 3)
    (0.972, 0.63)
    """
    times = tuple((k + 1) / looks for k in range(looks)) if isinstance(looks, int) else tuple(float(t) for t in looks)
    if not times or abs(times[-1] - 1.0) > 1e-9:
        raise ValueError("looks: at least one look is needed, and the last must be at information fraction 1")
    rule = spending or Spending()
    efficacy = efficacy_bounds(times, alpha, rule)
    base = fixed_drift(alpha, power)

    def design(drift: float, beta: float) -> Plan:
        spec = None if futility is None else Futility(beta, drift, futility)
        below = None if spec is None else futility_bounds(times, efficacy, spec)
        return Plan(alpha, power, times, rule, efficacy, drift, (drift / base) ** 2, spec, below)

    def reached(candidate: Plan) -> float:
        return operating(candidate).winner

    if maximum == "same":
        if futility is None:
            return design(base, 1.0 - power)
        # The beta that is really lost at this sample: the one for which spending it all leaves power 1 − beta.
        beta = optimize.brentq(lambda b: reached(design(base, b)) - (1.0 - b), 0.5 * (1.0 - power), 0.95, xtol=1e-7)
        return design(base, float(beta))
    drift = optimize.brentq(lambda d: reached(design(d, 1.0 - power)) - power, 0.9 * base, 2.0 * base, xtol=1e-7)
    return design(float(drift), 1.0 - power)


def operating(design: Plan, effect: float = 1.0, *, follow_futility: bool = True) -> Operating:
    """What the plan does when the true effect is `effect` times the design effect (0: none; negative: harm).

    >>> null = operating(plan(looks=5), 0.0)
    >>> round(null.winner + null.harm, 4)
    0.05
    """
    exits = crossing(
        design.times,
        design.efficacy,
        [-b for b in design.efficacy],
        design.drift * effect,
        design.futile_below if follow_futility else None,
    )
    share = _expected(design.times, exits)
    return Operating(
        winner=sum(exits.above),
        harm=sum(exits.below),
        futile=sum(exits.inner),
        undecided=exits.remaining,
        expected_share=share,
        expected_of_fixed=share * design.inflation,
    )


@dataclass(frozen=True, slots=True)
class Look:
    """One look's answer: verdict, the bounds in z that gave it, and the multiplier of the repeated interval."""

    verdict: Literal["winner", "harm", "futile", "keep_going"]
    efficacy: float
    futile_below: float | None


def assess(design: Plan, times: Sequence[float], z: float) -> Look:
    """Judge the current look of a plan, whatever the information fractions of the looks really were (Lan–DeMets).

    Args:
        design: the plan, fixed before the first look.
        times: fractions of the planned maximum at all looks so far, this one last; over-running past 1 is allowed.
        z: the statistic now, positive when the challenger is better.

    >>> assess(plan(looks=4), [0.25, 0.5], 3.2).verdict
    'winner'
    """
    efficacy = efficacy_bounds(times, design.alpha, design.spending)[-1]
    last = times[-1] >= 1.0 - 1e-9
    futile: float | None = None
    if design.futility is not None:
        futile = futility_bounds(times, efficacy_bounds(times, design.alpha, design.spending), design.futility)[-1]
    if z >= efficacy:
        return Look("winner", efficacy, futile)
    if z <= -efficacy:
        return Look("harm", efficacy, futile)
    if last or (futile is not None and z <= futile):
        return Look("futile", efficacy, futile)
    return Look("keep_going", efficacy, futile)


def _expected(times: Sequence[float], exits: Crossing) -> float:
    stopped = [a + b + c for a, b, c in zip(exits.above, exits.below, exits.inner, strict=True)]
    return sum(t * p for t, p in zip(times, stopped, strict=True)) + times[-1] * exits.remaining


def _solve_above(walk: Walk, time: float, probability: float) -> float:
    if probability <= 1e-15 or walk.above(FAR, time) >= probability:
        return FAR
    return float(optimize.brentq(lambda z: walk.above(z, time) - probability, -FAR, FAR, xtol=1e-10))


def _solve_below(walk: Walk, time: float, probability: float) -> float:
    if probability <= 1e-15 or walk.below(-FAR, time) >= probability:
        return -FAR
    if walk.below(FAR, time) <= probability:
        return FAR
    return float(optimize.brentq(lambda z: walk.below(z, time) - probability, -FAR, FAR, xtol=1e-10))
