"""Our server without its metrics: what counts is replaced by what does nothing. The server itself has no such setting; this is for the comparison alone."""

from typing import Any

from maestro.serving.main import main
from maestro.serving.metrics import ArmCounters, Histogram, ServerMetrics


def nothing(*_: Any) -> None:
    """Count nothing."""


for owner, names in (
    (Histogram, ("observe", "observe_all")),
    (ArmCounters, ("observe", "answered")),
    (ServerMetrics, ("batch", "response", "responses", "out_of_range", "cache", "queue")),
):
    for name in names:
        setattr(owner, name, nothing)

if __name__ == "__main__":
    raise SystemExit(main())
