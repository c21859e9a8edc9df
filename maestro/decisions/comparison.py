"""Champion against challenger on one metric: the three ways of looking, one verdict.

| mode | proportions | means | quantiles |
| --- | --- | --- | --- |
| fixed | Welch, read once at the horizon | Welch | Welch's form with Woodruff's standard error |
| planned | group-sequential, alpha spending | the same | the same |
| always_valid | exact, stratified by look | asymptotic confidence sequence | exact confidence sequence |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from maestro.decisions import group_sequential
from maestro.decisions.cuped import Difference, difference
from maestro.decisions.means import mean_sequence
from maestro.decisions.moments import Moments
from maestro.decisions.quantiles import quantile_difference_sequence, quantile_standard_error
from maestro.decisions.sequential import bounded_mean, two_proportions
from maestro.decisions.sequential.hypotheses import Hypotheses
from maestro.decisions.welch import welch

Mode = Literal["fixed", "planned", "always_valid"]
Outcome = Literal["winner", "harm", "futile", "keep_going"]


@dataclass(frozen=True, slots=True)
class Proportions:
    """Events by look: shape (looks, 4), the champion's events and all, the challenger's events and all.

    A look is a short stretch of time; `correlated` events of one look (requests of the same second) count as one block.
    """

    looks: ArrayLike
    correlated: bool = False


@dataclass(frozen=True, slots=True)
class Means:
    """An estimated difference of means, from `cuped.difference`, `cuped.adjust` or `cuped.combine`."""

    difference: Difference


@dataclass(frozen=True, slots=True)
class Quantiles:
    """All values of both arms so far, and which quantile is compared."""

    champion: ArrayLike
    challenger: ArrayLike
    p: float


Metric: TypeAlias = Proportions | Means | Quantiles


@dataclass(frozen=True, slots=True)
class Rule:
    """How a metric is compared; fixed before the first look.

    Args:
        mode: `fixed`, `planned` or `always_valid`.
        horizon: units of both arms together that were planned.
        minimum_effect: the smallest difference worth having, above 0, in the metric's unit.
        higher_is_better: direction of the metric.
        alpha: two-sided error, over all looks together.
        plan: the design of the planned mode; `group_sequential.plan()` with its defaults when None.
    """

    mode: Mode
    horizon: int
    minimum_effect: float
    higher_is_better: bool = True
    alpha: float = 0.05
    plan: group_sequential.Plan | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("fixed", "planned", "always_valid"):
            raise ValueError(f"mode {self.mode!r} is unknown; known: fixed, planned, always_valid")
        if self.horizon < 2 or not self.minimum_effect > 0.0 or not 0.0 < self.alpha < 1.0:
            raise ValueError("horizon must be at least 2, minimum_effect above 0 and alpha inside (0, 1)")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The verdict on one metric. The interval is of challenger − champion; None where the mode gives none yet."""

    verdict: Outcome
    estimate: float
    lower: float | None
    upper: float | None
    p_value: float | None
    n_champion: int
    n_challenger: int
    variance_saved: float
    reason: str


def compare(metric: Metric, rule: Rule, *, earlier: tuple[int, ...] = ()) -> Comparison:
    """Compare the arms on one metric at the present look.

    Winner: the challenger is better beyond doubt. Harm: it is worse beyond doubt. Futile: it will not be shown to be
    better within the plan, or cannot be better by as much as `minimum_effect`. Otherwise keep going.

    Args:
        metric: what was measured so far.
        rule: fixed before the first look.
        earlier: units of both arms together at the earlier looks, rising (planned mode only).

    >>> a, b = Moments(4000, 10.0, 4000.0), Moments(4000, 10.2, 4000.0)
    >>> data = Means(difference(a, b))
    >>> compare(data, Rule("always_valid", horizon=10_000, minimum_effect=0.05)).verdict
    'winner'
    >>> compare(data, Rule("fixed", horizon=10_000, minimum_effect=0.05)).reason
    '8000 of 10000 units: a fixed-horizon test is read once, at its horizon'
    """
    if rule.mode == "always_valid":
        return _always_valid(metric, rule)
    summary = _difference(metric)
    units = summary.n_champion + summary.n_challenger
    if rule.mode == "fixed":
        return _fixed(summary, units, rule)
    return _planned(summary, units, rule, earlier)


def _fixed(summary: Difference, units: int, rule: Rule) -> Comparison:
    if units < rule.horizon or min(summary.n_champion, summary.n_challenger) < 2:
        reason = f"{units} of {rule.horizon} units: a fixed-horizon test is read once, at its horizon"
        return _result("keep_going", summary, None, None, None, reason)
    test = welch(summary, rule.alpha)
    low, high = _benefit(test.lower, test.upper, rule)
    verdict: Outcome = "winner" if low > 0.0 else "harm" if high < 0.0 else "futile"
    reason = f"at the horizon the {1 - rule.alpha:.0%} interval is [{test.lower:.4g}, {test.upper:.4g}], p = {test.p_value:.3g}"
    return _result(verdict, summary, test.lower, test.upper, test.p_value, reason)


def _planned(summary: Difference, units: int, rule: Rule, earlier: tuple[int, ...]) -> Comparison:
    if min(summary.n_champion, summary.n_challenger) < 2:
        return _result("keep_going", summary, None, None, None, "an arm has fewer than two units")
    design = rule.plan or group_sequential.plan(alpha=rule.alpha)
    if not math.isfinite(summary.standard_error):
        return _result("keep_going", summary, None, None, None, "too few values for the quantile's standard error")
    times = [n / rule.horizon for n in (*earlier, units)]
    sign = 1.0 if rule.higher_is_better else -1.0
    look = group_sequential.assess(design, times, sign * summary.z)
    half = look.efficacy * summary.standard_error
    lower, upper = summary.estimate - half, summary.estimate + half
    reason = f"look {len(times)} at {times[-1]:.0%} of the plan: z = {sign * summary.z:.2f}, bound {look.efficacy:.2f}"
    if look.futile_below is not None and times[-1] < 1.0:
        reason += f", futile below {look.futile_below:.2f}"
    return _result(look.verdict, summary, lower, upper, None, reason)


def _always_valid(metric: Metric, rule: Rule) -> Comparison:
    p_value: float | None = None
    summary = _difference(metric, with_error=False)
    lower: float | None
    upper: float | None
    if isinstance(metric, Means):
        sequence = mean_sequence(metric.difference, alpha=rule.alpha, tuned_at=rule.horizon)
        lower, upper, p_value = sequence.lower, sequence.upper, sequence.p_value
    elif isinstance(metric, Quantiles) and min(summary.n_champion, summary.n_challenger) == 0:
        lower, upper = None, None
    elif isinstance(metric, Quantiles):
        interval = quantile_difference_sequence(
            metric.champion, metric.challenger, metric.p, alpha=rule.alpha, tuned_at=rule.horizon
        )
        lower, upper = interval.lower, interval.upper
    else:
        lower, upper = _proportion_sequence(metric, rule)
    units = summary.n_champion + summary.n_challenger
    low, high = _benefit(-math.inf if lower is None else lower, math.inf if upper is None else upper, rule)
    shown = f"[{'−∞' if lower is None else f'{lower:.4g}'}, {'∞' if upper is None else f'{upper:.4g}'}]"
    reason = f"after {units} units the always-valid {1 - rule.alpha:.0%} interval is {shown}"
    verdict: Outcome = "keep_going"
    # Bounds on proportions are refuted thresholds: 0 itself is excluded by them.
    strict = isinstance(metric, Proportions)
    if low > 0.0 or (strict and low == 0.0):
        verdict = "winner"
    elif high < 0.0 or (strict and high == 0.0):
        verdict = "harm"
    elif high < rule.minimum_effect:
        verdict, reason = "futile", reason + f": the gain is below the {rule.minimum_effect:g} that is worth having"
    elif units >= rule.horizon:
        verdict, reason = "futile", reason + f": undecided at the horizon of {rule.horizon} units"
    return _result(verdict, summary, lower, upper, p_value, reason)


def _proportion_sequence(metric: Proportions, rule: Rule) -> tuple[float | None, float | None]:
    """Bounds rounded outward to quarters of the smallest effect that matters, over 12 of it to either side."""
    scale = min(rule.minimum_effect, 0.5)
    grid = tuple(float(c) for c in np.linspace(-12.0, 12.0, 97) * scale if -1.0 < c < 1.0)
    hypotheses = Hypotheses(above=grid, below=grid, scale=scale)
    looks = _looks(metric)
    if metric.correlated:
        blocks = bounded_mean.BoundedMean.start(hypotheses)
        for counts in looks:
            blocks = bounded_mean.update(hypotheses, blocks, counts)
        peak = blocks.peak
    else:
        evidence = two_proportions.TwoProportions.start(hypotheses)
        for counts in looks:
            evidence = two_proportions.update(hypotheses, evidence, counts)
        peak = evidence.peak
    lower, upper = two_proportions.bounds(hypotheses, peak, rule.alpha / 2.0, rule.alpha / 2.0)
    return (None if float(lower) <= -1.0 else float(lower)), (None if float(upper) >= 1.0 else float(upper))


def _difference(metric: Metric, *, with_error: bool = True) -> Difference:
    if isinstance(metric, Means):
        return metric.difference
    if isinstance(metric, Proportions):
        looks = _looks(metric)
        total = looks.sum(axis=0)
        if metric.correlated and with_error:
            both = looks[(looks[:, 1] > 0) & (looks[:, 3] > 0)]
            gaps = both[:, 2] / both[:, 3] - both[:, 0] / both[:, 1]
            error = float(gaps.std(ddof=1)) / math.sqrt(gaps.size) if gaps.size > 1 else math.inf
            estimate = float(gaps.mean()) if gaps.size else 0.0
            return Difference(estimate, error, int(total[1]), int(total[3]), max(gaps.size - 1.0, 1.0))
        champion, challenger = (
            Moments.of_events(int(total[0]), int(total[1])),
            Moments.of_events(int(total[2]), int(total[3])),
        )
        return difference(champion, challenger)
    a, b = np.asarray(metric.champion, dtype=np.float64), np.asarray(metric.challenger, dtype=np.float64)
    if a.size == 0 or b.size == 0:
        return Difference(0.0, math.inf, a.size, b.size, math.inf)
    error = (
        math.hypot(quantile_standard_error(a, metric.p), quantile_standard_error(b, metric.p)) if with_error else 0.0
    )
    gap = float(np.quantile(b, metric.p) - np.quantile(a, metric.p))
    return Difference(gap, error, a.size, b.size, math.inf)


def _looks(metric: Proportions) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    looks: np.ndarray[tuple[int, int], np.dtype[np.float64]] = np.asarray(metric.looks, dtype=np.float64).reshape(-1, 4)
    if (looks < 0).any() or (looks[:, 0] > looks[:, 1]).any() or (looks[:, 2] > looks[:, 3]).any():
        raise ValueError("looks: events must lie between 0 and all")
    return looks


def _benefit(lower: float, upper: float, rule: Rule) -> tuple[float, float]:
    return (lower, upper) if rule.higher_is_better else (-upper, -lower)


def _result(
    verdict: Outcome, summary: Difference, lower: float | None, upper: float | None, p_value: float | None, reason: str
) -> Comparison:
    return Comparison(
        verdict=verdict,
        estimate=summary.estimate,
        lower=lower,
        upper=upper,
        p_value=p_value,
        n_champion=summary.n_champion,
        n_challenger=summary.n_challenger,
        variance_saved=summary.variance_saved,
        reason=reason,
    )
