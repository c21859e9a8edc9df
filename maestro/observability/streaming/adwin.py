"""ADWIN: adaptive windowing (Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", SDM 2007)."""

from __future__ import annotations

from maestro.clients.river import RiverDetector
from maestro.observability.streaming.values import finite_value


class Adwin:
    """Keeps a window of values that have one mean; signals when an old part had to be dropped. For values of bounded range; needs no tuning.

    Args:
        delta: bounds the false signals; smaller is slower.

    >>> from maestro.observability.streaming import signals
    >>> signals(Adwin(), [0.0, 1.0] * 200 + [1.0, 2.0] * 200)[:1]
    [447]
    """

    def __init__(self, delta: float = 0.002) -> None:
        self._detector = RiverDetector("ADWIN", delta=delta)

    @property
    def drift_detected(self) -> bool:
        """Whether the newest value completed the evidence of a change."""
        return self._detector.drift_detected

    def update(self, value: float) -> None:
        """Take the next value."""
        self._detector.update(finite_value(value))
