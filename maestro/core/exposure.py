"""The exposure record: which arm a unit saw first, for each version and revision of an experiment."""

from __future__ import annotations

from maestro.core.model import Model, Time

COLUMNS = (
    "at", "experiment", "unit", "arm", "version", "revision", "snapshot", "propensity", "context",
    "outcome_latency_s", "error", "reward_id",
)  # fmt: skip
"""Parquet columns in order."""


class Exposure(Model):
    """One first exposure. `unit` is a keyed hash; `context` holds only what the contract allows."""

    at: Time
    experiment: str
    unit: str
    arm: str
    version: str
    revision: int
    snapshot: str | None = None
    propensity: float
    context: tuple[float, ...] | None = None
    outcome_latency_s: float
    error: bool
    reward_id: str


def reward_id_of(experiment: str, unit: str, version: str, revision: int) -> str:
    """By what a reward that comes later finds its exposure.

    >>> reward_id_of("spring", "ab12", "1.0.0", 3)
    'spring:ab12:1.0.0:3'
    """
    return f"{experiment}:{unit}:{version}:{revision}"
