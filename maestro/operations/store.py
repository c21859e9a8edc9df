"""`slo_rollups` and `slo_cursors`: hourly counts of good and all events, and where the recorder of each source stands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from maestro.clients.database.schema.operations import slo_cursors, slo_rollups
from maestro.core.model import Model, Time


class HourRollup(Model):
    """One hour of one SLO. `seconds` were watched or are known to be missing; during `gap_seconds` of them nothing is known."""

    slo: str
    hour: Time
    good: int
    total: int
    gap_seconds: float
    seconds: float
    details: dict[str, Any] = {}


class RollupStore:
    """Reads and writes roll-ups in the caller's transaction."""

    def cursor(self, connection: Connection, source: str) -> tuple[datetime | None, dict[str, Any]]:
        """Where the recorder of `source` stands; the row is held until the transaction ends, so that two recorders take turns."""
        query = select(slo_cursors.c.at, slo_cursors.c.state).where(slo_cursors.c.source == source)
        row = connection.execute(query.with_for_update()).one_or_none()
        if row is None:
            if connection.dialect.name == "postgresql":
                from sqlalchemy.dialects.postgresql import insert as insert_or_skip

                connection.execute(
                    insert_or_skip(slo_cursors).values(source=source, at=None, state={}).on_conflict_do_nothing()
                )
                row = connection.execute(query.with_for_update()).one()
            else:
                connection.execute(insert(slo_cursors).values(source=source, at=None, state={}))
                return None, {}
        return row.at, dict(row.state)

    def move(self, connection: Connection, source: str, at: datetime, state: Mapping[str, Any]) -> None:
        """Set the cursor."""
        connection.execute(update(slo_cursors).where(slo_cursors.c.source == source).values(at=at, state=dict(state)))

    def answered(self, connection: Connection) -> datetime | None:
        """When a source last answered; what happened since is not known."""
        states = connection.execute(select(slo_cursors.c.state)).scalars()
        times = [float(state["answered"]) for state in states if state.get("answered") is not None]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def add(
        self, connection: Connection, slo: str, hour: datetime, *, good: int = 0, total: int = 0, gap_seconds: float = 0.0,
        seconds: float = 0.0, counts: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:  # fmt: skip
        """Add to an hour; `counts` are further integers by group, added up in `details`."""
        key = (slo_rollups.c.slo == slo, slo_rollups.c.hour == hour)
        row = connection.execute(select(slo_rollups).where(*key).with_for_update()).mappings().one_or_none()
        details: dict[str, Any] = dict(row["details"]) if row is not None else {}
        details["seconds"] = float(details.get("seconds", 0.0)) + seconds
        for group, added in (counts or {}).items():
            merged = dict(details.get(group, {}))
            for name, count in added.items():
                merged[name] = merged.get(name, 0) + count
            details[group] = merged
        if row is None:
            connection.execute(
                insert(slo_rollups).values(
                    slo=slo, hour=hour, good=good, total=total, gap_seconds=gap_seconds, details=details
                )
            )
            return
        connection.execute(
            update(slo_rollups)
            .where(*key)
            .values(
                good=row["good"] + good,
                total=row["total"] + total,
                gap_seconds=row["gap_seconds"] + gap_seconds,
                details=details,
            )
        )

    def rollups(self, connection: Connection, slo: str, since: datetime, until: datetime) -> list[HourRollup]:
        """The hours of an SLO that begin in [since, until), in order."""
        rows = connection.execute(
            select(slo_rollups)
            .where(slo_rollups.c.slo == slo, slo_rollups.c.hour >= since, slo_rollups.c.hour < until)
            .order_by(slo_rollups.c.hour)
        ).mappings()
        return [
            HourRollup(
                slo=row["slo"],
                hour=row["hour"],
                good=row["good"],
                total=row["total"],
                gap_seconds=row["gap_seconds"],
                seconds=float(row["details"].get("seconds", 0.0)),
                details={key: value for key, value in row["details"].items() if key != "seconds"},
            )
            for row in rows
        ]

    def forget_before(self, connection: Connection, hour: datetime) -> int:
        """Drop hours older than `hour`; gives how many."""
        return connection.execute(delete(slo_rollups).where(slo_rollups.c.hour < hour)).rowcount
