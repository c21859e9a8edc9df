"""When to end a hyper-parameter search: as soon as what the next trial may gain is worth less than what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maestro.core.errors import BadInput
from maestro.core.money import MicroUsd, format_usd


@dataclass(frozen=True, slots=True)
class StoppingRule:
    """What a better score is worth, and how sure to be before ending.

    Args:
        value_per_point: micro-dollars that a hundredth of score is worth.
        min_trials: completed trials before the search may end.
        patience: verdicts in a row that must say stop; one lucky trial restarts it.
        window: newest trials the expected gain is read from; the search has moved on from older ones.
    """

    value_per_point: MicroUsd
    min_trials: int = 10
    patience: int = 3
    window: int = 30

    def __post_init__(self) -> None:
        if self.value_per_point < 0 or self.min_trials < 4 or self.patience < 1 or self.window < 4:
            raise BadInput(
                "the stopping rule is out of range",
                field="stopping",
                remedy="value_per_point 0 or more, min_trials and window 4 or more, patience 1 or more",
            )


@dataclass(frozen=True, slots=True)
class Stopping:
    """Whether to end now. `saved` is the cost of the trials that are then not run."""

    stop: bool
    expected_gain: float
    worth: MicroUsd
    next_cost: MicroUsd
    saved: MicroUsd
    reason: str


def expected_gain(scores: Sequence[float], window: int = 30) -> float:
    """By how much one more trial is expected to beat the best score so far (higher is better).

    The upper half of the newest trials gives the tail of what the search now proposes: taken as exponential above its
    threshold u with mean excess s (peaks over threshold), the chance to beat the best is ½·exp(−(best − u)/s) and the
    expected gain s times that.

    >>> expected_gain([0.5] * 8)
    0.0
    >>> expected_gain([0.1, 0.2, 0.3, 0.4]) > expected_gain([0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4], window=4)
    True
    """
    recent = np.sort(np.asarray(scores[-window:], dtype=np.float64))
    if recent.size < 4:
        return math.inf
    top = recent[recent.size // 2 :]
    threshold = float(recent[recent.size // 2 - 1])
    scale = float((top - threshold).mean())
    if scale <= 0.0:
        return 0.0
    return 0.5 * scale * math.exp(-max(max(scores) - threshold, 0.0) / scale)


def should_stop(
    scores: Sequence[float], costs: Sequence[MicroUsd], rule: StoppingRule, *, trials_left: int
) -> Stopping:
    """Judge after each completed trial.

    Args:
        scores: of completed trials, in order, higher is better, finite.
        costs: what each of them cost, in micro-dollars.
        rule: fixed before the search.
        trials_left: how many more were asked for.

    Raises:
        BadInput: scores and costs differ in length, or a score is not finite.

    >>> rule = StoppingRule(value_per_point=1_000, min_trials=8, patience=2)
    >>> flat = [0.9 + 0.001 * (i % 3) for i in range(12)]
    >>> verdict = should_stop(flat, [5_000] * 12, rule, trials_left=38)
    >>> verdict.stop, verdict.saved
    (True, 190000)
    """
    if len(scores) != len(costs):
        raise BadInput(
            "scores and costs differ in length", field="costs", remedy="give one cost for each completed trial"
        )
    if not all(math.isfinite(score) for score in scores):
        raise BadInput("a score is not finite", field="scores", remedy="leave failed trials out")
    n = len(scores)
    next_cost = round(sum(costs[-rule.window :]) / len(costs[-rule.window :])) if costs else 0
    if n < rule.min_trials:
        return Stopping(False, math.inf, 0, next_cost, 0, f"{n} of at least {rule.min_trials} trials have completed")
    gain, worth = 0.0, 0
    for back in range(rule.patience):
        end = n - back
        if end < max(rule.min_trials - rule.patience, 4):
            break
        gain_then = expected_gain(scores[:end], rule.window)
        worth_then = round(gain_then * 100 * rule.value_per_point)
        if back == 0:
            gain, worth = gain_then, worth_then
        if worth_then >= next_cost:
            return Stopping(
                False, gain, worth, next_cost, 0,
                f"a trial may gain {gain:.2g}, worth {format_usd(worth)}, and costs {format_usd(next_cost)}",
            )  # fmt: skip
    reason = f"a trial is expected to gain {gain:.2g}, worth {format_usd(worth)}, less than its cost of {format_usd(next_cost)}"
    return Stopping(True, gain, worth, next_cost, next_cost * trials_left, reason)
