"""`outbox`: events written in the transaction of what they tell, delivered at least once, in order."""

from sqlalchemy import Column, Index, String, Table

from maestro.clients.database.schema._base import Json, Serial, UtcTime, metadata

outbox = Table(
    "outbox",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False),
    Column("kind", String(128), nullable=False),
    Column("subject", String(512), nullable=False),
    Column("actor", String(256), nullable=False),
    Column("trace", String(64)),
    Column("data", Json, nullable=False),
    Column("delivered_at", UtcTime),
    Index("ix_outbox_undelivered", "delivered_at", "seq"),
)
