"""A request on its way through a lane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from maestro.observability.tracing import Span
from maestro.serving.engine.connection import Exchange
from maestro.serving.graph._base import Ended, Unit
from maestro.serving.protocols.adapter import Render
from maestro.serving.table import Matrix

Rows = list[list[float]] | Matrix


@dataclass(slots=True)
class Ride:
    """A request that a lane may answer.

    Args:
        rows: of numbers, as many as its model has features or not.
        render: writes the answer; None writes the predictions.
        alone: hands the request to the data plane.
        span: ends with the answer; None when nobody takes it.
        instead: hands the request to the graph with the failure of the node that it was assigned to.
    """

    exchange: Exchange
    rows: Rows
    units: tuple[Unit, ...]
    render: Render | None
    alone: Callable[[], None]
    span: Span | None
    instead: Callable[[Ended], None]
