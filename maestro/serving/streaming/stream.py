"""One column of one model's traffic: group means through a detector, the newest values held against the first."""

from __future__ import annotations

import logging
from collections import deque

import numpy as np
from numpy.typing import NDArray

from maestro.decisions.cusum import Cusum
from maestro.observability.streaming import DriftDetector, create_detector

log = logging.getLogger(__name__)

GROUP = 8
"""Values in a group: their mean is nearer to normal than they are, so that a skewed column signals no more often than it should."""
REFERENCE = 1000
"""First values, against which the newest are held."""
NEWEST = 500


class Stream:
    """Counts signals and measures the effect.

    Args:
        detector: a name that `maestro.observability.streaming` knows.
    """

    def __init__(self, detector: str) -> None:
        self.signals = 0
        self.drifted = False
        self._detector: DriftDetector = create_detector(detector)
        self._rest: list[float] = []
        self._first: list[float] = []
        self._sorted: NDArray[np.float64] | None = None
        self._newest: deque[float] = deque(maxlen=NEWEST)

    def take(self, values: list[float]) -> int:
        """Take values in their order; how many times the detector signalled.

        CUSUM learns its own baseline; any other detector sees values in deviations of the first ones, and only those after them.
        """
        detector = self._detector
        room = REFERENCE - len(self._first)
        self._first += values[:room]
        self._newest.extend(values)
        self._rest += values if isinstance(detector, Cusum) else values[room:]
        whole = len(self._rest) // GROUP * GROUP
        means = np.array(self._rest[:whole]).reshape(-1, GROUP).mean(axis=1)
        self._rest = self._rest[whole:]
        if isinstance(detector, Cusum):
            found = len(detector.update_many(means))
        else:
            found = 0
            for mean in self._standard(means).tolist():
                detector.update(mean)
                found += detector.drift_detected
        self.signals += found
        self.drifted = self.drifted or found > 0
        return found

    def _standard(self, means: NDArray[np.float64]) -> NDArray[np.float64]:
        if not means.size:
            return means
        first = np.array(self._first)
        deviation = float(first.std())
        result: NDArray[np.float64] = (means - first.mean()) / (deviation if deviation > 0.0 else 1.0)
        return result

    def effect(self) -> float | None:
        """The Kolmogorov–Smirnov distance of the newest values from the first; None while there are too few of either."""
        if len(self._first) < REFERENCE or len(self._newest) < NEWEST:
            return None
        if self._sorted is None:
            self._sorted = np.sort(np.array(self._first))
        newest = np.sort(np.array(self._newest))
        points = np.concatenate([self._sorted, newest])
        below = np.searchsorted(self._sorted, points, side="right") / len(self._sorted)
        return float(np.abs(below - np.searchsorted(newest, points, side="right") / len(newest)).max())
