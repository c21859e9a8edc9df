"""The two-sided cumulative sum chart (Page 1954; Montgomery, "Introduction to Statistical Quality Control", chapter 9)."""

from __future__ import annotations

import math

from maestro.monitoring.streaming.values import finite_value


class Cusum:
    """Learns mean and deviation from the first values, then adds up standardised departures beyond `slack` in each direction.

    With the usual slack 0.5 and threshold 5 a shift of one deviation is found after about 10 values, and a stream of independent normal values without a
    shift signals about once in 465 when its mean is known; a short learning phase makes that worse. After a signal it learns anew.

    Args:
        slack: half the smallest shift worth finding, in deviations.
        threshold: sum that is a change, in deviations.
        learn: values that the baseline is learnt from.

    >>> from maestro.monitoring.streaming import signals
    >>> signals(Cusum(), [0.0, 1.0] * 200 + [1.0, 2.0] * 200)[:1]
    [405]
    """

    def __init__(self, slack: float = 0.5, threshold: float = 8.0, learn: int = 100) -> None:
        self._slack, self._threshold, self._learn = slack, threshold, learn
        self._detected = False
        self._start()

    def _start(self) -> None:
        # Welford's running mean and sum of squares of the baseline.
        self._seen, self._mean, self._squares = 0, 0.0, 0.0
        self._above = self._below = 0.0

    @property
    def drift_detected(self) -> bool:
        """Whether the newest value completed the evidence of a change."""
        return self._detected

    def update(self, value: float) -> None:
        """Take the next value."""
        value = finite_value(value)
        self._detected = False
        if self._seen < self._learn:
            self._seen += 1
            step = value - self._mean
            self._mean += step / self._seen
            self._squares += step * (value - self._mean)
            return
        deviation = math.sqrt(self._squares / (self._seen - 1))
        if deviation == 0.0:
            # A baseline that never moved: any other value is a change.
            departure = 0.0 if value == self._mean else math.copysign(math.inf, value - self._mean)
        else:
            departure = (value - self._mean) / deviation
        self._above = max(0.0, self._above + departure - self._slack)
        self._below = max(0.0, self._below - departure - self._slack)
        if max(self._above, self._below) > self._threshold:
            self._start()
            self._detected = True
