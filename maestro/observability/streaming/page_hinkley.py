"""The Page–Hinkley test (Page, "Continuous inspection schemes", Biometrika 1954), with forgetting, in both directions."""

from __future__ import annotations

from maestro.clients.river import RiverDetector
from maestro.observability.streaming.values import finite_value


class PageHinkley:
    """Adds up departures from the running mean; signals when the sum exceeds a threshold.

    Args:
        delta: departures smaller than this are tolerated; in units of the values.
        threshold: sum of departures that is a change; larger is slower and surer.
        min_instances: values before the first signal.

    >>> from maestro.observability.streaming import signals
    >>> signals(PageHinkley(), [0.0, 1.0] * 200 + [1.0, 2.0] * 200)[:1]
    [453]
    """

    def __init__(self, delta: float = 0.005, threshold: float = 50.0, min_instances: int = 30) -> None:
        self._detector = RiverDetector(
            "PageHinkley", delta=delta, threshold=threshold, min_instances=min_instances, mode="both"
        )

    @property
    def drift_detected(self) -> bool:
        """Whether the newest value completed the evidence of a change."""
        return self._detector.drift_detected

    def update(self, value: float) -> None:
        """Take the next value."""
        self._detector.update(finite_value(value))
