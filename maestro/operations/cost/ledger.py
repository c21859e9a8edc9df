"""`cost_entries`: one entry for each attempt of a job and for each life of a server. Entries are never deleted."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from sqlalchemy import Connection, RowMapping, func, select, update

from maestro.clients.database import Database
from maestro.clients.database.schema.core import outbox
from maestro.clients.database.schema.operations import cost_entries
from maestro.core.errors import BadInput
from maestro.core.events import Event
from maestro.core.model import Model, Time

BILLED = ("job.completed", "job.failed", "job.requeued", "job.cancelled")
"""Events that end an attempt; those of an attempt that was billed carry its `bill`."""


_ALLOCATED = ("cores", "gpus", "memory_gib", "gpu_s", "memory_gib_s", "peak_memory_bytes", "accounted")
"""What a bill says beside its sums: what was allocated, and what the system accounted of it."""


class CostEntry(Model):
    """What was allocated, used and billed. `bill_usd_micros` − `used_usd_micros` was idle."""

    at: Time
    kind: str = Field(description="training, tuning, serving")
    subject: str = Field(description="job/<id>, server/<name>")
    attempt: str
    tenant_id: str = "default"
    wall_s: float = Field(ge=0)
    cpu_s: float = Field(ge=0)
    allocated: dict[str, Any]
    used_usd_micros: int = Field(ge=0)
    bill_usd_micros: int = Field(ge=0)
    rates: str

    @property
    def idle_usd_micros(self) -> int:
        """What was billed and not used."""
        return self.bill_usd_micros - self.used_usd_micros


class CostLedger:
    """Writes and reads the entries of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, connection: Connection, entry: CostEntry) -> bool:
        """Keep an entry, in the caller's transaction; gives whether it was new.

        An attempt is billed once, however often it is told. A server's life is told while it lasts: a later telling of a longer life replaces the entry.

        Raises:
            BadInput: more was used than billed.
        """
        if entry.used_usd_micros > entry.bill_usd_micros:
            raise BadInput(
                f"{entry.subject}: more was used than billed", field="used_usd_micros", remedy="correct the accounting"
            )
        key = (
            cost_entries.c.kind == entry.kind,
            cost_entries.c.subject == entry.subject,
            cost_entries.c.attempt == entry.attempt,
        )
        values = entry.model_dump()
        known = connection.execute(select(cost_entries.c.wall_s).where(*key).with_for_update()).scalar_one_or_none()
        if known is None:
            connection.execute(cost_entries.insert().values(**values))
            return True
        if entry.kind == "serving" and entry.wall_s > known:
            connection.execute(update(cost_entries).where(*key).values(**values))
        return False

    def take(self, event: Event) -> None:
        """Keep the bill that an event of `BILLED` carries; a handler of the outbox, and idempotent as such."""
        with self._database.begin() as connection:
            self._take(connection, event)

    def catch_up(self) -> int:
        """Keep the bill of every ended attempt in the event log that is not in the ledger yet; gives how many were new."""
        with self._database.begin() as connection:
            rows = connection.execute(select(outbox).where(outbox.c.kind.in_(BILLED)).order_by(outbox.c.seq)).mappings()
            told = [
                Event(**{name: row[name] for name in ("seq", "at", "kind", "subject", "actor", "trace", "data")})
                for row in rows.all()
            ]
            return sum(self._take(connection, event) for event in told)

    def entries(
        self,
        connection: Connection,
        *,
        kind: str | None = None,
        tenant_id: str | None = None,
        page: int | None = None,
        page_size: int = 50,
    ) -> list[CostEntry]:
        """Entries in the order they were kept; with `page` one page of them."""
        query = select(cost_entries).where(*_filters(kind, tenant_id)).order_by(cost_entries.c.seq)
        if page is not None:
            query = query.limit(page_size).offset((page - 1) * page_size)
        return [_entry(row) for row in connection.execute(query).mappings()]

    def count(self, connection: Connection, *, kind: str | None = None, tenant_id: str | None = None) -> int:
        """How many entries there are."""
        query = select(func.count()).select_from(cost_entries).where(*_filters(kind, tenant_id))
        return int(connection.execute(query).scalar_one())

    def _take(self, connection: Connection, event: Event) -> bool:
        bill = event.data.get("bill")
        if event.kind not in BILLED or not isinstance(bill, dict):
            return False
        entry = CostEntry(
            at=event.at,
            kind="tuning" if event.data.get("model_type") == "study" else "training",
            subject=f"job/{event.data['job_id']}",
            # The fence is of this attempt alone; an attempt that was given back has its number used again.
            attempt=f"{event.data['attempt']}.{event.data['fence']}",
            tenant_id=str(event.data.get("tenant_id", "default")),
            wall_s=bill["wall_s"],
            cpu_s=bill["cpu_s"],
            allocated={name: bill[name] for name in _ALLOCATED if name in bill}
            | {name: event.data[name] for name in ("run_id", "study_id") if event.data.get(name)},
            used_usd_micros=bill["used_usd_micros"],
            bill_usd_micros=bill["bill_usd_micros"],
            rates=bill["rates"],
        )
        return self.record(connection, entry)


def _filters(kind: str | None, tenant_id: str | None) -> list[Any]:
    return [
        column == value
        for column, value in ((cost_entries.c.kind, kind), (cost_entries.c.tenant_id, tenant_id))
        if value is not None
    ]


def _entry(row: RowMapping) -> CostEntry:
    return CostEntry(**{name: row[name] for name in CostEntry.model_fields})
