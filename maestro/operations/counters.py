"""Differences of raw cumulative counters between two scrapes, restarts handled."""

from __future__ import annotations

from dataclasses import dataclass

from maestro.clients.exposition import Samples, Series

START = ("process_start_time_seconds", ())
"""The standard series that says when the process began."""

COUNTED = ("_total", "_bucket", "_count")
"""Ends of the names of cumulative integers."""


@dataclass(frozen=True)
class Increase:
    """What was counted between two scrapes. After a restart it is what the new process counted; what the old one counted after the scrape before is lost."""

    counts: dict[Series, int]
    restarted: bool

    def of(self, selected: dict[Series, float] | list[Series]) -> int:
        """The sum over the selected series."""
        return sum(self.counts.get(series, 0) for series in selected)


def counters(samples: Samples) -> dict[Series, int]:
    """The cumulative integers of the platform's own metrics."""
    return {
        series: int(value)
        for series, value in samples.items()
        if series[0].startswith("maestro_") and series[0].endswith(COUNTED)
    }


def increase(before: dict[Series, int], now: dict[Series, int], *, restarted: bool = False) -> Increase:
    """What was counted between two scrapes of one process.

    A counter that fell, or one that vanished, says that the process began anew, for all of them.

    >>> a, b = ("x_total", ()), ("y_total", ())
    >>> increase({a: 5, b: 7}, {a: 9, b: 8}).counts[a]
    4
    >>> increase({a: 5, b: 7}, {a: 9, b: 2})
    Increase(counts={('x_total', ()): 9, ('y_total', ()): 2}, restarted=True)
    """
    again = restarted or any(count > now.get(series, -1) for series, count in before.items())
    return Increase({series: count - (0 if again else before.get(series, 0)) for series, count in now.items()}, again)
