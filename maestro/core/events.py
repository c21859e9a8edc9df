"""The event log and its projection, by which two runs (laptop, cluster) are compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from maestro.core.model import Model, Time


class Event(Model):
    """One thing that happened. `subject` is `kind/name`, such as `model/m@1.2.0`."""

    seq: int = Field(ge=1)
    at: Time
    kind: str
    subject: str
    actor: str
    trace: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


def projection(events: Iterable[Event]) -> list[tuple[str, str, Any, Any, Any]]:
    """The ordered `(kind, subject kind, from, to, verdict)` of rollout events, consecutive `keep_going` collapsed."""
    rows: list[tuple[str, str, Any, Any, Any]] = []
    for event in sorted(events, key=lambda item: item.seq):
        if not event.kind.startswith("rollout."):
            continue
        data = event.data
        row = (event.kind, event.subject.split("/", 1)[0], data.get("from"), data.get("to"), data.get("verdict"))
        if rows and row == rows[-1] and data.get("verdict") == "keep_going":
            continue
        rows.append(row)
    return rows
