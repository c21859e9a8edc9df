"""What a trial was started with: it is ended, billed and booked by it, whatever the study asks for when it is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from maestro.training.search.request import StudyRequest
from maestro.training.search.scoring import trial_micros

LIMITS = "maestro.limits"
"""The attribute that a trial carries from its beginning."""


@dataclass(frozen=True)
class Limits:
    """A trial's time and machine.

    Attributes:
        timeout_s: seconds after which it is ended.
        grace_s: seconds beyond them for which it may be billed.
        cores: that it holds.
    """

    timeout_s: float
    grace_s: float
    cores: float

    @classmethod
    def of(cls, request: StudyRequest, grace_s: float) -> Limits:
        """Of the trials that a request starts."""
        return cls(request.trial_timeout_s, grace_s, request.trial_cpu)

    @property
    def worst_micros(self) -> int:
        """What the trial costs at most, in micro-dollars."""
        return trial_micros(self.timeout_s + self.grace_s, self.cores)

    def attributes(self) -> dict[str, Any]:
        """What its trial carries."""
        return {LIMITS: asdict(self)}

    def lost(self) -> dict[str, Any]:
        """What is kept of a trial whose end nobody saw: it is booked at its worst."""
        return {"lost": True, "cost_usd_micros": self.worst_micros}


def limits_in(attributes: Mapping[str, Any], otherwise: Limits) -> Limits:
    """The limits that a trial carries.

    Args:
        attributes: of the trial.
        otherwise: of one that was started before trials carried theirs.
    """
    found = attributes.get(LIMITS)
    return otherwise if found is None else Limits(**{name: float(value) for name, value in found.items()})
