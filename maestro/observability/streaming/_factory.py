"""From a name to the detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from maestro.core.errors import BadInput
from maestro.observability.streaming._base import DriftDetector
from maestro.observability.streaming.adwin import Adwin
from maestro.observability.streaming.cusum import Cusum
from maestro.observability.streaming.kswin import Kswin
from maestro.observability.streaming.page_hinkley import PageHinkley

DETECTORS: dict[str, Callable[..., DriftDetector]] = {
    "adwin": Adwin,
    "cusum": Cusum,
    "kswin": Kswin,
    "page-hinkley": PageHinkley,
}
"""Name to detector."""


def create_detector(name: str, **parameters: Any) -> DriftDetector:
    """A fresh detector.

    Raises:
        BadInput: no detector has this name, or it has no such parameter; the known names are listed.
    """
    if name not in DETECTORS:
        raise BadInput(
            f"detector {name!r} is not known", field="detector", remedy=f"use one of: {', '.join(sorted(DETECTORS))}"
        )
    try:
        return DETECTORS[name](**parameters)
    except TypeError:
        raise BadInput(
            f"detector {name} does not take {', '.join(sorted(parameters))}",
            field="parameters",
            remedy=f"see the documentation of {name}",
        ) from None


def signals(detector: DriftDetector, stream: Iterable[float]) -> list[int]:
    """Positions of the stream's values, from 0, at which the detector signalled."""
    found = []
    for position, value in enumerate(stream):
        detector.update(value)
        if detector.drift_detected:
            found.append(position)
    return found
