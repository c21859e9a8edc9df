"""SLO roll-ups, cost entries, and monitoring results."""

from sqlalchemy import BigInteger, Column, Float, Index, String, Table, UniqueConstraint

from maestro.clients.database.schema._base import Json, Serial, UtcTime, metadata

slo_rollups = Table(
    "slo_rollups",
    metadata,
    Column("slo", String(128), primary_key=True),
    Column("hour", UtcTime, primary_key=True),
    Column("good", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("gap_seconds", Float, nullable=False, default=0.0),
    Column("details", Json, nullable=False),
)

slo_cursors = Table(
    "slo_cursors",
    metadata,
    Column("source", String(512), primary_key=True),
    Column("at", UtcTime),
    Column("state", Json, nullable=False),
)

cost_entries = Table(
    "cost_entries",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("subject", String(512), nullable=False),
    Column("attempt", String(128), nullable=False),
    Column("tenant_id", String(128), nullable=False),
    Column("wall_s", Float, nullable=False),
    Column("cpu_s", Float, nullable=False),
    Column("allocated", Json, nullable=False),
    Column("used_usd_micros", BigInteger, nullable=False),
    Column("bill_usd_micros", BigInteger, nullable=False),
    Column("rates", String(32), nullable=False),
    UniqueConstraint("kind", "subject", "attempt"),
    Index("ix_cost_entries_subject", "subject"),
)

drift_reports = Table(
    "drift_reports",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("dataset", String(256), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("share", Float, nullable=False),
    Column("report", Json, nullable=False),
)
