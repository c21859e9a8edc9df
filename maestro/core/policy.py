"""The rollout policy: rungs, bad events with their margins, gates and budget (`kind: RolloutPolicy`)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, field_validator, model_validator

from maestro.core.model import Model, Name

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


_NUMBER = r"[0-9]{1,17}(?:\.[0-9]{1,9})?"
_DURATION = rf"({_NUMBER})(ms|s|m|h|d)"
_LATENCY = rf"latency\s*>\s*({_NUMBER})(ms|s)"


def parse_duration(value: Any) -> timedelta:
    """A span of time from `90s`, `10m`, `1h`, `250ms`, `7d`.

    >>> parse_duration("10m")
    datetime.timedelta(seconds=600)
    """
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(_DURATION, value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration is a number with a unit: 250ms, 90s, 10m, 1h or 7d")
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    except OverflowError:
        raise ValueError(f"{value} is longer than a duration can be") from None


def format_duration(value: timedelta) -> str:
    """The shortest exact form.

    >>> format_duration(timedelta(minutes=90))
    '90m'
    """
    milliseconds = round(value.total_seconds() * 1000)
    for unit, factor in reversed(_UNITS.items()):
        size = round(factor * 1000)
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


Duration = Annotated[
    timedelta,
    PlainValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION}$"}),
]
"""A span of time, written `250ms`, `90s`, `10m`, `1h`, `7d`."""


class Metadata(Model):
    """The name of a declared object."""

    name: Name


class Rung(Model):
    """One step of the ladder: a weight in percent with the factor on every margin, or the final weight with its bake."""

    weight: int = Field(ge=1, le=100)
    margin_factor: float = Field(default=1.0, ge=1.0, le=1000.0)
    bake: Duration | None = None


class MetricPolicy(Model):
    """One bad event. `margin` is the worst difference in rates that is acceptable, `tolerate` what is never a reason to roll back."""

    name: Name
    bad: str = Field(
        description="`error`, `wrong`, or `latency > 0.1s` (the threshold must be a bucket bound)",
        json_schema_extra={"pattern": f"^(error|wrong|{_LATENCY})$"},
    )
    margin: float = Field(gt=0.0, lt=1.0)
    tolerate: float | None = Field(default=None, ge=0.0, lt=1.0)
    label_wait: Duration | None = None

    @field_validator("bad")
    @classmethod
    def _known_event(cls, value: str) -> str:
        if value not in {"error", "wrong"} and _latency_bound(value) is None:
            raise ValueError("bad must be `error`, `wrong` or `latency > <seconds>s`")
        return value

    @model_validator(mode="after")
    def _tolerate_below_margin(self) -> Self:
        if self.tolerate is not None and self.tolerate >= self.margin:
            raise ValueError(f"metric {self.name}: tolerate must be below margin {self.margin}")
        return self

    @property
    def tolerated(self) -> float:
        """`tolerate`, or a quarter of the margin."""
        return self.margin / 4 if self.tolerate is None else self.tolerate

    @property
    def event(self) -> Literal["error", "latency", "wrong"]:
        """The kind of bad event."""
        if self.bad == "error":
            return "error"
        return "wrong" if self.bad == "wrong" else "latency"

    @property
    def latency_bound(self) -> float | None:
        """The latency threshold in seconds, for a latency metric."""
        return _latency_bound(self.bad)


def _latency_bound(text: str) -> float | None:
    match = re.fullmatch(_LATENCY, text)
    return None if match is None else float(match[1]) * _UNITS[match[2]]


class OfflineGate(Model):
    """The candidate's offline metric may be at most `margin` below the champion's."""

    metric: Name
    margin: float = Field(ge=0.0)
    higher_is_better: bool = True


class GatePolicy(Model):
    """What has to hold before a version may enter a rollout."""

    contract: Literal["required", "optional"] = "required"
    signature: Literal["required", "optional"] = "required"
    lineage: Literal["complete", "optional"] = "complete"
    offline: OfflineGate | None = None
    approvals: int = Field(default=1, ge=0, le=10)


class Budget(Model):
    """Where a rollout ends undecided."""

    requests: int = Field(gt=0)
    duration: Duration


DEFAULT_RUNGS = (
    Rung(weight=1, margin_factor=10),
    Rung(weight=10, margin_factor=3),
    Rung(weight=50, margin_factor=1),
    Rung(weight=100, bake=timedelta(minutes=10)),
)
"""The preset `1-10-50-100`."""

SHORT_RUNGS = DEFAULT_RUNGS[1:]
"""The preset `10-50-100`."""


class RolloutPolicy(Model):
    """A rollout's rules. `alpha` covers the whole rollout, whatever the number of looks and rungs."""

    api_version: Literal["maestro/v1"] = Field(alias="apiVersion")
    kind: Literal["RolloutPolicy"]
    metadata: Metadata
    alpha: float = Field(gt=0.0, lt=0.5)
    rungs: tuple[Rung, ...] = Field(
        default=DEFAULT_RUNGS, min_length=2, description="at least one rung at which both arms are compared, then 100"
    )
    metrics: tuple[MetricPolicy, ...] = Field(min_length=1, max_length=16)
    gates: GatePolicy = GatePolicy()
    budget: Budget

    @model_validator(mode="after")
    def _ladder_rises(self) -> Self:
        weights = [rung.weight for rung in self.rungs]
        if weights != sorted(set(weights)):
            raise ValueError("rungs: weights must rise")
        if weights[-1] != 100:
            raise ValueError("rungs: the last weight must be 100")
        if self.rungs[-2].margin_factor != 1:
            raise ValueError(
                "rungs: the last rung before 100 must have margin_factor 1, where the full margin is earned"
            )
        if len({metric.name for metric in self.metrics}) != len(self.metrics):
            raise ValueError("metrics: names must differ")
        return self
