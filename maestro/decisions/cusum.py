"""The cumulative sum chart (Page, "Continuous inspection schemes", Biometrika 1954), two-sided, for several sizes of shift at once, on a baseline that it learns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maestro.core.errors import BadInput

Floats = NDArray[np.float64]

RUN_LENGTH = 100_000.0
"""Values without a change between two false signals, in the mean."""
SLACKS = (0.25, 0.5, 1.0)
"""Half of the shifts for which the charts are quickest, in standard deviations."""
BLOCK = 256
_OVERSHOOT = 1.166
_MARGIN = 1.1  # for what a learnt baseline costs


def threshold_of(slack: float, run_length: float) -> float:
    """The sum, in standard deviations, that a one-sided chart exceeds once in `run_length` normal values without a shift.

    By Siegmund's approximation ("Sequential Analysis", 1985, chapter 10).

    >>> round(threshold_of(0.5, 465.0 * 2), 1)
    5.0
    """
    x = 1.0
    for _ in range(60):
        x = math.log(2.0 * slack**2 * run_length + x + 1.0)
    return x / (2.0 * slack) - _OVERSHOOT


class Cusum:
    """Learns mean and deviation from the first values, then adds up standardised departures beyond a slack, upwards and downwards.

    Three charts of different slack stand side by side, so that shifts from half a deviation to two are found nearly as quickly as by a chart that was made
    for them; each gets its part of the false signals. The baseline goes on learning, 256 values at a time, until a signal; then all is learnt anew. For
    values that are independent and about normal: group means of anything else come near enough.

    Values may come one by one or many at a time: the signals are the same, bit for bit.

    Args:
        run_length: values without a change between two false signals.
        learn: values that the baseline is learnt from at first; a short one costs false signals.
        slacks: of the charts, in deviations.

    >>> Cusum(learn=200).update_many(np.array([0.0, 1.0] * 200 + [1.0, 2.0] * 200))[:1]
    [405]
    """

    def __init__(self, run_length: float = RUN_LENGTH, learn: int = 500, slacks: Sequence[float] = SLACKS) -> None:
        if run_length < 100 or learn < 20 or not slacks or min(slacks) <= 0:
            raise BadInput(
                "run_length is at least 100, learn at least 20, every slack above 0",
                field="run_length",
                remedy="correct the detector's settings",
            )
        each = _MARGIN * run_length * 2 * len(slacks)
        self._charts = [(sign, slack, threshold_of(slack, each)) for slack in slacks for sign in (1.0, -1.0)]
        self._learn = learn
        self._held = np.empty(max(learn, BLOCK))
        self._detected = False
        self._start()

    def _start(self) -> None:
        self._count, self._mean, self._squares = 0, 0.0, 0.0  # of the baseline
        self._fill = 0  # values held that the baseline has not learnt yet
        self._deviation = 0.0
        self._sums = [0.0] * len(self._charts)  # running sums since the block began
        self._lows = [0.0] * len(self._charts)  # and their minima: a chart stands at the difference

    @property
    def drift_detected(self) -> bool:
        """Whether the newest value completed the evidence of a change."""
        return self._detected

    def update(self, value: float) -> None:
        """Take the next value.

        Raises:
            BadInput: it is NaN or infinite; nothing has changed.
        """
        if not math.isfinite(value):
            raise _not_finite(value)
        self._detected = False
        if self._count == 0:
            self._hold(value)
            return
        if self._deviation == 0.0:
            if value != self._mean:
                self._signal()
            else:
                self._hold(value)
            return
        departure = (value - self._mean) / self._deviation
        for chart, (sign, slack, threshold) in enumerate(self._charts):
            total = self._sums[chart] + (sign * departure - slack)
            low = min(self._lows[chart], total)
            self._sums[chart], self._lows[chart] = total, low
            if total - low > threshold:
                self._detected = True
        if self._detected:
            self._signal()
        else:
            self._hold(value)

    def update_many(self, values: Floats) -> list[int]:
        """Take the next values; the positions among them at which it signalled.

        Raises:
            BadInput: one is NaN or infinite; nothing has changed.
        """
        finite = np.isfinite(values)
        if not finite.all():
            raise _not_finite(float(values[int(np.argmin(finite))]))
        found: list[int] = []
        at = 0
        while at < values.size:
            self._detected = False
            room = (self._learn if self._count == 0 else BLOCK) - self._fill
            part = values[at : at + room]
            hit = None if self._count == 0 else self._advance(part)
            if hit is None:
                self._held[self._fill : self._fill + part.size] = part
                self._fill += part.size
                self._close_block()
                at += part.size
            else:
                found.append(at + hit)
                self._signal()
                at += hit + 1
        return found

    def _advance(self, part: Floats) -> int | None:
        """Move the charts over some values of one block; the position of the first signal."""
        if self._deviation == 0.0:
            other = part != self._mean
            return int(np.argmax(other)) if other.any() else None
        departures = (part - self._mean) / self._deviation
        first: int | None = None
        path = np.empty(part.size + 1)
        for chart, (sign, slack, threshold) in enumerate(self._charts):
            path[0] = self._sums[chart]
            np.subtract(sign * departures, slack, out=path[1:])
            np.add.accumulate(path, out=path)  # in order, as `update` adds
            lows = np.minimum(np.minimum.accumulate(path[1:]), self._lows[chart])
            over = path[1:] - lows > threshold
            if over.any():
                hit = int(np.argmax(over))
                first = hit if first is None else min(first, hit)
            self._sums[chart], self._lows[chart] = float(path[-1]), float(lows[-1])
        return first

    def _hold(self, value: float) -> None:
        self._held[self._fill] = value
        self._fill += 1
        self._close_block()

    def _close_block(self) -> None:
        """Let the baseline learn a block that is full."""
        if self._fill < (self._learn if self._count == 0 else BLOCK):
            return
        block = self._held[: self._fill]
        mean = float(block.mean())
        squares = float(((block - mean) ** 2).sum())
        total = self._count + self._fill
        step = mean - self._mean
        # Chan, Golub and LeVeque's rule for joining two sets.
        self._squares += squares + step * step * self._count * self._fill / total
        self._mean += step * self._fill / total
        self._count, self._fill = total, 0
        self._deviation = math.sqrt(self._squares / (self._count - 1))
        self._sums = [total - low for total, low in zip(self._sums, self._lows, strict=True)]
        self._lows = [0.0] * len(self._charts)

    def _signal(self) -> None:
        self._start()
        self._detected = True


def _not_finite(value: float) -> BadInput:
    return BadInput(
        f"the stream's value is {value}", field="value", remedy="count missing values apart; send finite numbers"
    )
