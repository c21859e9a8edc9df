"""The outbox: events written in the transaction of what they tell, delivered in order, at least once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, select, update

from maestro.clients.database.schema.core import outbox
from maestro.core.events import Event


def append_event(
    connection: Connection,
    *,
    kind: str,
    subject: str,
    actor: str,
    data: dict[str, Any],
    at: datetime,
    trace: str | None = None,
) -> int:
    """Write one event in the caller's transaction.

    Returns:
        Its sequence number.
    """
    result = connection.execute(
        outbox.insert()
        .values(kind=kind, subject=subject, actor=actor, data=data, at=at, trace=trace)
        .returning(outbox.c.seq)
    )
    return int(result.scalar_one())


def undelivered(connection: Connection, kinds: Sequence[str], limit: int = 100) -> list[Event]:
    """The oldest events of `kinds` that no subscriber has confirmed."""
    rows = connection.execute(
        select(outbox)
        .where(outbox.c.delivered_at.is_(None), outbox.c.kind.in_(kinds))
        .order_by(outbox.c.seq)
        .limit(limit)
    ).mappings()
    return [_event(row) for row in rows]


def confirm(connection: Connection, seq: int, at: datetime) -> None:
    """Mark an event as delivered; repeating it changes nothing."""
    connection.execute(
        update(outbox).where(outbox.c.seq == seq, outbox.c.delivered_at.is_(None)).values(delivered_at=at)
    )


def events(
    connection: Connection, *, after: int = 0, subject: str | None = None, limit: int | None = None
) -> list[Event]:
    """The event log from `after` on, the oldest `limit` of it, or all."""
    query = select(outbox).where(outbox.c.seq > after).order_by(outbox.c.seq).limit(limit)
    if subject is not None:
        query = query.where(outbox.c.subject == subject)
    return [_event(row) for row in connection.execute(query).mappings()]


def _event(row: RowMapping) -> Event:
    return Event(
        seq=row["seq"],
        at=row["at"],
        kind=row["kind"],
        subject=row["subject"],
        actor=row["actor"],
        trace=row["trace"],
        data=row["data"],
    )
