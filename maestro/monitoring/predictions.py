"""What models answer in production: throughput, errors, latency and wrong answers of each arm between two readings."""

from __future__ import annotations

from pydantic import Field
from scipy import stats

from maestro.core.model import Model, Time
from maestro.core.seams import Alert, ArmReading, Reading
from maestro.monitoring.latency import QuantileBounds, difference, quantile_bounds


class ModelLimits(Model):
    """When a model alerts. Rates alert only when their lower confidence bound is above the limit, so that three requests raise no alarm."""

    error_rate: float = Field(default=0.01, ge=0.0, le=1.0)
    p95_s: float = Field(default=0.1, gt=0.0)
    p99_s: float = Field(default=0.2, gt=0.0)
    wrong_rate: float | None = Field(default=None, ge=0.0, le=1.0)
    confidence: float = Field(default=0.99, gt=0.5, lt=1.0)


class ArmHealth(Model):
    """One arm over the time between two readings. Rates are None where nothing was counted."""

    arm: str
    version: str
    seconds: float
    requests: int
    errors: int
    outcomes: dict[str, int]
    throughput_per_s: float
    error_rate: float | None
    error_rate_lower: float | None
    p50: QuantileBounds | None
    p95: QuantileBounds | None
    p99: QuantileBounds | None
    labelled: int
    wrong_rate: float | None
    wrong_rate_lower: float | None
    problems: tuple[str, ...] = ()


class ModelHealth(Model):
    """Every arm of a model. `restarted` says that the server's counters began anew, so that only what followed is known."""

    model: str
    at: Time
    restarted: bool
    arms: tuple[ArmHealth, ...]

    @property
    def healthy(self) -> bool:
        """Whether no arm has a problem."""
        return not any(arm.problems for arm in self.arms)


def watch(model: str, before: Reading | None, now: Reading, limits: ModelLimits | None = None) -> ModelHealth:
    """Judge what happened between two readings.

    Args:
        model: the model's name.
        before: the reading before; None for everything since the server's start, whose length is then unknown (0 s).
        now: the newest reading.
        limits: when to alert.
    """
    limits = limits or ModelLimits()
    restarted = before is not None and before.epoch != now.epoch
    base = None if before is None or restarted else before
    seconds = max((now.at - before.at).total_seconds(), 0.0) if before is not None else 0.0
    arms = []
    for name, arm in now.arms.items():
        earlier = base.arms.get(name) if base is not None else None
        # The arm's name may have gone to another version, whose counters are its own.
        same = earlier is not None and earlier.version == arm.version
        arms.append(_health(name, arm, earlier if same else None, seconds, limits))
    return ModelHealth(model=model, at=now.at, restarted=restarted, arms=tuple(arms))


def health_alerts(health: ModelHealth) -> tuple[Alert, ...]:
    """One alert for each arm that has problems."""
    return tuple(
        Alert(
            title=f"{health.model}@{arm.version} ({arm.arm}) is outside of its limits",
            body="; ".join(arm.problems),
            severity="high",
            source=f"model/{health.model}@{arm.version}",
        )
        for arm in health.arms
        if arm.problems
    )


def lower_bound(count: int, total: int, confidence: float) -> float:
    """The exact lower confidence bound of a proportion (Clopper and Pearson 1934).

    >>> round(lower_bound(5, 100, 0.99), 4)
    0.013
    """
    return 0.0 if count == 0 else float(stats.beta.ppf(1.0 - confidence, count, total - count + 1))


def _health(name: str, arm: ArmReading, before: ArmReading | None, seconds: float, limits: ModelLimits) -> ArmHealth:
    outcomes = difference(arm.requests, before.requests if before else {})
    buckets = difference(arm.latency, before.latency if before else {})
    requests = sum(outcomes.values())
    errors = requests - outcomes.get("ok", 0)
    labelled = arm.labelled - (before.labelled if before else 0)
    wrong = arm.wrong - (before.wrong if before else 0)
    p50, p95, p99 = (quantile_bounds(buckets, q) if buckets else None for q in (0.5, 0.95, 0.99))
    error_lower = lower_bound(errors, requests, limits.confidence) if requests else None
    wrong_lower = lower_bound(wrong, labelled, limits.confidence) if labelled else None
    problems = []
    if error_lower is not None and error_lower > limits.error_rate:
        problems.append(f"errors: {errors} of {requests}, at least {error_lower:.2%}, above {limits.error_rate:.2%}")
    for bounds, limit in ((p95, limits.p95_s), (p99, limits.p99_s)):
        if bounds is not None and bounds.lower_s >= limit:
            problems.append(
                f"latency: p{round(bounds.quantile * 100)} is above {bounds.lower_s:g} s, the limit is {limit:g} s"
            )
    if limits.wrong_rate is not None and wrong_lower is not None and wrong_lower > limits.wrong_rate:
        problems.append(
            f"quality: {wrong} wrong of {labelled}, at least {wrong_lower:.2%}, above {limits.wrong_rate:.2%}"
        )
    return ArmHealth(
        arm=name,
        version=arm.version,
        seconds=seconds,
        requests=requests,
        errors=errors,
        outcomes=outcomes,
        throughput_per_s=requests / seconds if seconds > 0 else 0.0,
        error_rate=errors / requests if requests else None,
        error_rate_lower=error_lower,
        p50=p50,
        p95=p95,
        p99=p99,
        labelled=labelled,
        wrong_rate=wrong / labelled if labelled else None,
        wrong_rate_lower=wrong_lower,
        problems=tuple(problems),
    )
