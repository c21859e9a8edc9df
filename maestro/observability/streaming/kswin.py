"""KSWIN: Kolmogorov–Smirnov windowing (Raab, Heusinger and Schleif, "Reactive soft prototype computing for concept drift streams", Neurocomputing 2020)."""

from __future__ import annotations

from maestro.clients.river import RiverDetector
from maestro.observability.streaming.values import finite_value


class Kswin:
    """Compares the newest values with a sample of the older ones in a window. Sees changes of shape; at the default `alpha` it signals falsely now and then.

    Args:
        alpha: of each test; one test a value, so keep it small.
        window_size: values kept.
        stat_size: newest values that are compared.
        seed: of the sample, so that a stream gives the same signals each time.

    >>> from maestro.observability.streaming import signals
    >>> signals(Kswin(alpha=0.0001), [0.0, 1.0] * 200 + [1.0, 2.0] * 200)[:1]
    [428]
    """

    def __init__(self, alpha: float = 0.005, window_size: int = 100, stat_size: int = 30, seed: int = 1) -> None:
        self._detector = RiverDetector("KSWIN", alpha=alpha, window_size=window_size, stat_size=stat_size, seed=seed)

    @property
    def drift_detected(self) -> bool:
        """Whether the newest value completed the evidence of a change."""
        return self._detector.drift_detected

    def update(self, value: float) -> None:
        """Take the next value."""
        self._detector.update(finite_value(value))
