"""Principals, their keys, and the audit chain."""

from sqlalchemy import Column, ForeignKey, Index, String, Table

from maestro.clients.database.schema._base import Json, Serial, UtcTime, metadata

principals = Table(
    "principals",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("roles", Json, nullable=False),
    Column("tenants", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("disabled_at", UtcTime),
)

principal_keys = Table(
    "principal_keys",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("principal", String(128), ForeignKey("principals.name"), nullable=False),
    Column("secret_hash", String(128), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    Index("ix_principal_keys_principal", "principal"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", String(256), nullable=False),
    Column("action", String(128), nullable=False),
    Column("subject", String(512), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("data", Json, nullable=False),
    Column("prev", String(71), nullable=False),
    Column("entry_digest", String(71), nullable=False, unique=True),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("entry_digest", String(71), nullable=False),
    Column("envelope", Json, nullable=False),
)
