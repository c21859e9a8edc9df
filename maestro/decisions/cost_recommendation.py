"""What to ask for next time: resources that fit what was measured, and what that saves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maestro.core.money import MicroUsd
from maestro.core.rates import RateCard
from maestro.decisions.cost import Allocation, bill

CORE_STEP = 0.25
MEMORY_STEP_GIB = 0.25
HEADROOM = 1.2
"""Above the highest use that was seen."""

ENOUGH = 3
"""Attempts from which a recommendation is made."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One attempt: what was allocated and what the system accounted."""

    wall_s: float
    cores: float
    memory_gib: float
    cpu_s: float
    peak_memory_gib: float
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to allocate, why, and what the measured attempts would have cost less (negative: more)."""

    cores: float
    memory_gib: float
    saved: MicroUsd
    billed: MicroUsd
    reason: str


def recommend(attempts: Sequence[Measured], rates: RateCard) -> Recommendation | None:
    """The smallest allocation that holds the highest use seen with a fifth to spare; None before three attempts.

    Cores are the average over an attempt, since a core that is short makes it slower and not fail; memory is the peak.

    >>> from maestro.core.rates import load_rates
    >>> found = recommend([Measured(100.0, 4.0, 8.0, 90.0, 1.0)] * 3, load_rates())
    >>> found.cores, found.memory_gib, found.saved, found.billed
    (1.25, 1.25, 11460, 16668)
    """
    seen = [attempt for attempt in attempts if attempt.wall_s > 0.0 and attempt.cpu_s > 0.0]
    if len(seen) < ENOUGH:
        return None
    used = max(attempt.cpu_s / attempt.wall_s for attempt in seen)
    peak = max(attempt.peak_memory_gib for attempt in seen)
    cores, memory = _step(used * HEADROOM, CORE_STEP), _step(peak * HEADROOM, MEMORY_STEP_GIB)
    billed = sum(_price(attempt, attempt.cores, attempt.memory_gib, rates) for attempt in seen)
    then = sum(_price(attempt, cores, memory, rates) for attempt in seen)
    reason = f"at most {used:.2f} cores and {peak:.2f} GiB were used in {len(seen)} attempts"
    return Recommendation(cores, memory, billed - then, billed, reason)


def _step(value: float, step: float) -> float:
    return max(math.ceil(round(value / step, 9)) * step, step)


def _price(attempt: Measured, cores: float, memory_gib: float, rates: RateCard) -> MicroUsd:
    return bill(Allocation(attempt.wall_s, cores, attempt.gpus, memory_gib), rates).total
