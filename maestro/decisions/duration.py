"""How long a job will take, with an interval, from how long jobs like it took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

ENOUGH = 3
"""Past jobs from which an estimate is made; with fewer there is only the time limit."""


@dataclass(frozen=True, slots=True)
class DurationEstimate:
    """Seconds the whole job takes: a median and a prediction interval, and what they rest on."""

    seconds: float
    lower: float
    upper: float
    samples: int
    basis: str


def estimate_duration(
    past_s: Sequence[float],
    *,
    timeout_s: float,
    past_work: Sequence[float] | None = None,
    work: float | None = None,
    confidence: float = 0.8,
) -> DurationEstimate:
    """Estimate before the job starts: log-normal prediction from the durations of like jobs.

    Args:
        past_s: seconds that completed jobs of the same kind took, newest last.
        timeout_s: where the job would be stopped; nothing longer is predicted.
        past_work: how much work each had (rows × iterations, say), above 0; with `work` durations are scaled by it.
        work: how much this one has.
        confidence: of the prediction interval.

    Raises:
        ValueError: a number is out of range, or past_work has another length than past_s.

    >>> estimate_duration([10, 11, 12, 10, 9], timeout_s=600).seconds
    10.4
    >>> estimate_duration([], timeout_s=600).basis
    'no like job has completed: only the time limit is known'
    """
    if not (timeout_s > 0.0 and 0.0 < confidence < 1.0):
        raise ValueError("timeout_s must be above 0 and confidence inside (0, 1)")
    scaled = past_work is not None and work is not None
    if past_work is not None and (len(past_work) != len(past_s) or any(amount <= 0.0 for amount in past_work)):
        raise ValueError("past_work must hold one amount above 0 for each past duration")
    if work is not None and work <= 0.0:
        raise ValueError("work must be above 0")
    amounts = past_work if scaled and past_work is not None else [1.0] * len(past_s)
    pairs = [(s, w) for s, w in zip(past_s, amounts, strict=True) if s > 0.0 and math.isfinite(s)]
    if len(pairs) < ENOUGH:
        return DurationEstimate(
            timeout_s, 0.0, timeout_s, len(pairs), "no like job has completed: only the time limit is known"
        )
    log_s = np.log([s for s, _ in pairs])
    log_w = np.log([w for _, w in pairs])
    # Seconds are taken as proportional to work: a slope fitted to a handful of jobs does more harm than good.
    target = math.log(work) if scaled and work is not None else 0.0
    rate = log_s - log_w
    n = rate.size
    half = float(stats.t.ppf(0.5 + confidence / 2.0, n - 1)) * float(rate.std(ddof=1)) * math.sqrt(1.0 + 1.0 / n)
    centre = float(rate.mean()) + target
    low, mid, high = (min(math.exp(centre + d), timeout_s) for d in (-half, 0.0, half))
    basis = f"{n} completed jobs like it" + (", scaled by their work" if scaled else "")
    return DurationEstimate(round(mid, 1), round(low, 1), round(high, 1), int(n), basis)


def remaining(estimate: DurationEstimate, elapsed_s: float, progress: float) -> DurationEstimate:
    """Seconds left of a running job: its own pace, weighted in as it advances, and the estimate it began with.

    Args:
        estimate: from before it started.
        elapsed_s: seconds since it started.
        progress: share done, 0 to 1, as it reports itself.

    >>> before = DurationEstimate(100.0, 80.0, 120.0, 9, "9 completed jobs like it")
    >>> remaining(before, 50.0, 0.5).seconds
    50.0
    """
    done = min(max(progress, 0.0), 1.0)
    if done >= 1.0:
        return DurationEstimate(0.0, 0.0, 0.0, estimate.samples, "done")
    if done <= 0.0:
        left = [max(value - elapsed_s, 0.0) for value in (estimate.seconds, estimate.lower, estimate.upper)]
        return DurationEstimate(left[0], left[1], left[2], estimate.samples, estimate.basis)
    own = elapsed_s / done - elapsed_s
    mixed = [
        round(done * own + (1.0 - done) * max(value - elapsed_s, 0.0), 1)
        for value in (estimate.seconds, estimate.lower, estimate.upper)
    ]
    return DurationEstimate(
        mixed[0], mixed[1], mixed[2], estimate.samples, f"its own pace at {done:.0%}, and {estimate.basis}"
    )
