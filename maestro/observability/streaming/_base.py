"""What every streaming drift detector owes its callers."""

from __future__ import annotations

from typing import Protocol


class DriftDetector(Protocol):
    """Watches one stream of numbers for a change of its distribution.

    Obligations: the same values in the same order give the same signals, in every process; `drift_detected` is about the newest value only, and is False
    before the first; after a signal the detector goes on with the values that follow, without being made anew; memory stays bounded however long the
    stream. One instance belongs to one stream and one thread.
    """

    @property
    def drift_detected(self) -> bool:
        """Whether the newest value completed the evidence of a change."""
        ...

    def update(self, value: float) -> None:
        """Take the next value of the stream.

        Raises:
            BadInput: the value is NaN or infinite; the detector is as before.
        """
        ...
