"""Service-level objectives: availability, error budget, burn rates and compliance. A gap is unknown, never good."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field

from maestro.core.errors import BadInput
from maestro.core.model import Model


class Rollup(Model):
    """Events of one stretch of time. During `gap_s` of its `seconds` nothing was recorded."""

    good: int = Field(ge=0)
    total: int = Field(ge=0)
    seconds: int = Field(default=3600, gt=0)
    gap_s: int = Field(default=0, ge=0)


class SloStatus(Model):
    """An objective over a period.

    `availability` and `budget_left` are those of what was recorded, None where nothing was. `worst` and `best` are the
    availability if every event in the gaps had been bad, or good. Budget left is 1 when untouched, negative when overdrawn.
    """

    objective: float
    good: int
    total: int
    gap_s: int
    availability: float | None
    budget_left: float | None
    worst: float | None
    best: float | None
    verdict: Literal["compliant", "breached", "unknown"]
    reason: str

    @property
    def compliant(self) -> bool:
        """True only where it is known."""
        return self.verdict == "compliant"


def assess(objective: float, rollups: Iterable[Rollup]) -> SloStatus:
    """Judge an objective over rollups.

    The events that a gap hides are estimated from the rate of the recorded time. Compliance is claimed only if it holds though all of
    them were bad; a breach only if it holds though all of them were good; anything between is unknown.

    Args:
        objective: the share of events that has to be good, in (0, 1).
        rollups: the period's, in any order. Hours without a rollup have to be given as gaps.

    Raises:
        BadInput: an objective outside (0, 1), more good events than events, or a gap longer than its rollup.

    >>> hours = [Rollup(good=9_995, total=10_000), Rollup(good=9_996, total=10_000)]
    >>> assess(0.999, hours).verdict, round(assess(0.999, hours).budget_left, 3)
    ('compliant', 0.55)
    >>> assess(0.999, [*hours, Rollup(good=0, total=0, gap_s=3600)]).verdict
    'unknown'
    """
    if not 0.0 < objective < 1.0:
        raise BadInput(
            f"objective {objective} is outside (0, 1)", remedy="give a share such as 0.999", field="objective"
        )
    good = total = gap = seconds = 0
    for rollup in rollups:
        if rollup.good > rollup.total or rollup.gap_s > rollup.seconds:
            raise BadInput(
                f"a rollup of {rollup.good} good of {rollup.total} with {rollup.gap_s} s gap cannot be", field="rollups"
            )
        good, total = good + rollup.good, total + rollup.total
        gap, seconds = gap + rollup.gap_s, seconds + rollup.seconds
    known = seconds - gap
    if total == 0 or known == 0:
        return SloStatus(
            objective=objective,
            good=good,
            total=total,
            gap_s=gap,
            availability=None,
            budget_left=None,
            worst=None,
            best=None,
            verdict="unknown",
            reason="no events were recorded",
        )
    availability = good / total
    hidden = total * gap / known
    worst, best = good / (total + hidden), (good + hidden) / (total + hidden)
    verdict: Literal["compliant", "breached", "unknown"] = "unknown"
    reason = f"{gap} s were not recorded; with them it lies between {worst:.6f} and {best:.6f}"
    if worst >= objective:
        verdict, reason = "compliant", f"{availability:.6f} of {total} events were good, at least {objective} is asked"
    elif best < objective:
        verdict, reason = "breached", f"{availability:.6f} of {total} events were good, {objective} is asked"
    return SloStatus(
        objective=objective,
        good=good,
        total=total,
        gap_s=gap,
        availability=availability,
        budget_left=1 - (1 - availability) / (1 - objective),
        worst=worst,
        best=best,
        verdict=verdict,
        reason=reason,
    )


def burn_rate(objective: float, good: int, total: int) -> float | None:
    """How many times faster than allowed the error budget is being spent; None without events.

    >>> round(burn_rate(0.999, 9_856, 10_000), 1)
    14.4
    """
    return None if total == 0 else (total - good) / total / (1 - objective)


class BurnAlert(Model):
    """Both windows have to burn at `factor` or faster: the long one shows that it matters, the short one that it goes on."""

    long: str
    short: str
    factor: float
    severity: Literal["critical", "warning"]


BURN_ALERTS = (
    BurnAlert(long="1h", short="5m", factor=14.4, severity="critical"),
    BurnAlert(long="6h", short="30m", factor=6.0, severity="critical"),
    BurnAlert(long="3d", short="6h", factor=1.0, severity="warning"),
)
"""For a budget of 30 days: 2 % spent in an hour, 5 % in six, 10 % in three days. Source: The Site Reliability Workbook, chapter 5."""


def burning(rates: Mapping[str, float | None]) -> tuple[BurnAlert, ...]:
    """The alerts that burn rates by window (`5m`, `30m`, `1h`, `6h`, `3d`) raise. An unknown rate raises none and calms none.

    >>> [alert.long for alert in burning({"1h": 20.0, "5m": 15.0, "6h": 7.0, "30m": None})]
    ['1h']
    """

    def reached(window: str, factor: float) -> bool:
        rate = rates.get(window)
        return rate is not None and rate >= factor

    return tuple(
        alert for alert in BURN_ALERTS if reached(alert.long, alert.factor) and reached(alert.short, alert.factor)
    )
