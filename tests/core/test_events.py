"""The projection by which two runs are compared."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from maestro.core.events import Event, projection


def event(seq: int, kind: str, **data: Any) -> Event:
    return Event(
        seq=seq,
        at=datetime(2026, 1, 1, 0, 0, seq, tzinfo=UTC),
        kind=kind,
        subject=f"model/m@1.{seq}.0",
        actor="system:controller",
        data=data,
    )


def test_time_names_and_repetition_do_not_matter_and_order_does() -> None:
    keep = {"from": 1, "to": 1, "verdict": "keep_going"}
    move = {"from": 1, "to": 10, "verdict": "promote"}
    first = [
        event(1, "rollout.started"),
        event(2, "rollout.decided", **keep),
        event(3, "rollout.decided", **keep),
        event(4, "rollout.moved", **move),
    ]
    second = [
        event(9, "rollout.moved", **move),
        event(5, "rollout.started"),
        event(6, "job.completed"),
        event(7, "rollout.decided", **keep),
    ]
    assert projection(first) == projection(second)
    assert projection(first[::-1]) == projection(first)
    assert projection(first[:3]) != projection(first)


def test_only_keep_going_collapses() -> None:
    back = {"from": 10, "to": 0, "verdict": "roll_back"}
    assert len(projection([event(1, "rollout.moved", **back), event(2, "rollout.moved", **back)])) == 2
