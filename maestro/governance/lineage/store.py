"""`lineage_events`: OpenLineage events, the one form in which lineage is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from maestro.clients.database import Database
from maestro.clients.database.schema.governance import lineage_events


class LineageStore:
    """Appends and reads lineage events."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def has(self, connection: Connection, kind: str, subject: str) -> bool:
        """Whether something of `kind` is recorded about `subject`."""
        found = connection.execute(
            select(lineage_events.c.seq)
            .where(lineage_events.c.kind == kind, lineage_events.c.subject == subject)
            .limit(1)
        ).first()
        return found is not None

    def append(
        self,
        connection: Connection,
        *,
        kind: str,
        subject: str,
        run_id: str | None,
        events: Sequence[dict[str, Any]],
        at: datetime,
    ) -> None:
        """Add the events of one run of a job, in the caller's transaction."""
        for event in events:
            connection.execute(
                lineage_events.insert().values(at=at, kind=kind, subject=subject, run_id=run_id, event=event)
            )

    def read(self, *, run_id: str | None = None, subject: str | None = None) -> list[dict[str, Any]]:
        """Events in the order in which they were recorded: all of them, or those of a run or about a subject."""
        query = select(lineage_events.c.event).order_by(lineage_events.c.seq)
        if run_id is not None:
            query = query.where(lineage_events.c.run_id == run_id)
        if subject is not None:
            query = query.where(lineage_events.c.subject == subject)
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(query).scalars()]
