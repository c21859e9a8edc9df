"""Whether a log can say anything about a target at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maestro.core.errors import BadInput
from maestro.decisions.off_policy._base import Floats, Logged, effective_size

MIN_EFFECTIVE = 30.0
"""Below this the normal interval means nothing."""
MASS = 1e-3
"""What the target may give to arms that the log never took, on average; rewards there are unknown."""
_SIGMAS = 5.0


def check_overlap(logged: Logged, clip: float | None, confidence: float, arms: Sequence[str] | None = None) -> Floats:
    """The weights, clipped.

    Args:
        arms: names for messages, by position.

    Raises:
        BadInput: the target goes where the log has never been, too few decisions speak about it, or the recorded propensities cannot be right.
    """
    if clip is not None and not clip >= 1.0:
        raise BadInput(f"clip is {clip}", field="clip", remedy="give 1 or more, or none")
    if not 0.0 < confidence < 1.0:
        raise BadInput(f"confidence is {confidence}", field="confidence", remedy="give a number between 0 and 1")
    if logged.size < MIN_EFFECTIVE:
        raise BadInput(
            f"{logged.size} decisions with a reward are too few",
            field="exposures",
            remedy=f"log at least {MIN_EFFECTIVE:.0f}",
        )
    taken = np.bincount(logged.arm, minlength=logged.target.shape[1]) > 0
    mass = logged.target.mean(axis=0)
    missing = [int(position) for position in np.flatnonzero(~taken) if mass[position] > 0.0]
    lost = float(mass[missing].sum()) if missing else 0.0
    if lost > MASS:
        names = ", ".join(arms[position] if arms else str(position) for position in missing)
        raise BadInput(
            f"no overlap: the target gives {lost:.1%} to arms that the log never took ({names})",
            field="target",
            remedy="log a policy that tries every arm, or ask about another target",
        )
    weights = logged.weights(clip)
    effective = effective_size(weights)
    if effective < MIN_EFFECTIVE:
        raise BadInput(
            f"no overlap: {logged.size} decisions say as much about the target as {effective:.1f} of its own",
            field="target",
            remedy=f"log more decisions that the target would make; {MIN_EFFECTIVE:.0f} are the least",
            effective_sample_size=effective,
        )
    raw = logged.weights(None)
    off = abs(float(raw.mean()) - 1.0)
    if off > _SIGMAS * float(raw.std(ddof=1)) / np.sqrt(logged.size) + MASS:
        raise BadInput(
            f"the recorded propensities cannot be right: the weights' mean is {raw.mean():.3f}, not 1",
            field="propensity",
            remedy="use exposures as they were logged: all of a unit's first, none selected by outcome",
        )
    return weights
