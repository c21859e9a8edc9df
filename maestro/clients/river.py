"""river: the one module that imports it."""

from __future__ import annotations

import warnings
from typing import Any, Literal

RiverName = Literal["ADWIN", "PageHinkley", "KSWIN"]


class RiverDetector:
    """A detector of `river.drift` by name, with its parameters. river is imported when the first one is built."""

    def __init__(self, name: RiverName, **parameters: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from river import drift

        self._detector: Any = getattr(drift, name)(**parameters)

    @property
    def drift_detected(self) -> bool:
        """Whether the newest value completed the evidence of a change."""
        return bool(self._detector.drift_detected)

    def update(self, value: float) -> None:
        """Take the next value."""
        self._detector.update(value)
