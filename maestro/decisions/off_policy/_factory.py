"""From a name to the estimator."""

from __future__ import annotations

from collections.abc import Callable

from maestro.core.errors import BadInput
from maestro.decisions.off_policy._base import OffPolicyEstimator
from maestro.decisions.off_policy.doubly_robust import DoublyRobust
from maestro.decisions.off_policy.ips import InversePropensity
from maestro.decisions.off_policy.self_normalised import SelfNormalised

ESTIMATORS: dict[str, Callable[[], OffPolicyEstimator]] = {
    "dr": DoublyRobust,
    "ips": InversePropensity,
    "snips": SelfNormalised,
}
"""Name to estimator."""


def create_estimator(name: str) -> OffPolicyEstimator:
    """The estimator of this name.

    Raises:
        BadInput: there is none; the known names are listed.
    """
    if name not in ESTIMATORS:
        raise BadInput(
            f"estimator {name!r} is not known",
            field="estimator",
            remedy=f"use one of: {', '.join(sorted(ESTIMATORS))}",
        )
    return ESTIMATORS[name]()
