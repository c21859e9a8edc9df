"""From two readings of cumulative counters to a look: what happened in between, as integers."""

from __future__ import annotations

from typing import Any

from maestro.core.model import Model
from maestro.core.policy import MetricPolicy, RolloutPolicy
from maestro.core.seams import ArmReading, Reading
from maestro.decisions.rollout import Look


class ArmNames(Model):
    """Which arms of a reading are compared."""

    champion: str
    challenger: str


def unhealthy(elapsed_ms: int = 0) -> Look:
    """The look of a source that gave no usable reading."""
    return Look(source_healthy=False, elapsed_ms=max(0, elapsed_ms))


def difference(policy: RolloutPolicy, names: ArmNames, before: Reading, after: Reading) -> Look:
    """What was observed between two readings of one graph revision.

    Counters of requests and latency that started again (another `epoch`) count from zero: what was lost between the earlier reading and the
    restart is in neither. Counts of units survive a restart where the source keeps them; one that fell counts from zero too.
    A counter that falls without a restart, or an arm that is missing, makes the source unhealthy.
    """
    elapsed = round((after.at - before.at).total_seconds() * 1000)
    restarted = after.epoch != before.epoch
    pairs = []
    for name in (names.champion, names.challenger):
        if name not in after.arms:
            return unhealthy(elapsed)
        pairs.append((before.arms.get(name), after.arms[name]))
    try:
        champion, challenger = (_delta(old, new, restarted=restarted) for old, new in pairs)
        return _look(policy, champion, challenger, elapsed, _less(before.dropped, after.dropped, restarted=restarted))
    except ValueError:
        return unhealthy(elapsed)


def _look(policy: RolloutPolicy, champion: ArmReading, challenger: ArmReading, elapsed: int, dropped: int) -> Look:
    counts: dict[str, Any] = {}
    blocks: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    for metric in policy.metrics:
        if metric.event == "latency":
            blocks[metric.name] = ((*_slow(metric, champion), *_slow(metric, challenger)),)
        elif metric.event == "error":
            counts[metric.name] = _arms(_errors(champion), _errors(challenger))
        else:
            counts[metric.name] = _arms((champion.wrong, champion.labelled), (challenger.wrong, challenger.labelled))
            labels[metric.name] = _arms(
                (champion.labelled, champion.eligible), (challenger.labelled, challenger.eligible)
            )
    return Look.model_validate(
        {
            "counts": counts,
            "blocks": blocks,
            "labels": labels,
            "exposures": {"champion": champion.entered or 0, "challenger": challenger.entered or 0},
            "requests": sum(champion.requests.values()) + sum(challenger.requests.values()),
            "elapsed_ms": max(0, elapsed),
            "dropped": dropped,
        }
    )


def _delta(old: ArmReading | None, new: ArmReading, *, restarted: bool) -> ArmReading:
    if old is None or (old.version != new.version):
        old = ArmReading(version=new.version, requests={}, latency={})
    counters = ArmReading(version=new.version, requests={}, latency={}) if restarted else old
    return ArmReading(
        version=new.version,
        requests={key: _less(counters.requests.get(key, 0), value) for key, value in new.requests.items()},
        latency={key: _less(counters.latency.get(key, 0), value) for key, value in new.latency.items()},
        **{
            name: _less(getattr(old, name), getattr(new, name), restarted=restarted)
            for name in ("exposed", "eligible", "labelled", "wrong")
        },
        entered=_entered(old, new, restarted=restarted),
    )


def _entered(old: ArmReading, new: ArmReading, *, restarted: bool) -> int | None:
    # After a restart every unit enters again, by the same hash: that is no new evidence on the split.
    if new.entered is None or restarted:
        return None
    return _less(old.entered or 0, new.entered)


def _less(old: int, new: int, *, restarted: bool = False) -> int:
    if new < old:
        if restarted:
            return new
        raise ValueError("a counter fell")
    return new - old


def _errors(arm: ArmReading) -> tuple[int, int]:
    total = sum(arm.requests.values())
    return total - arm.requests.get("ok", 0), total


def _slow(metric: MetricPolicy, arm: ArmReading) -> tuple[int, int]:
    """Requests slower than the metric's bound, and all."""
    bound = metric.latency_bound
    total = arm.latency.get("+Inf", 0)
    at_or_below = next((count for key, count in arm.latency.items() if key != "+Inf" and float(key) == bound), None)
    if at_or_below is None:
        raise ValueError(f"{bound} s is no bucket bound")
    return total - at_or_below, total


def _arms(champion: tuple[int, int], challenger: tuple[int, int]) -> dict[str, tuple[int, int]]:
    return {"champion": champion, "challenger": challenger}
