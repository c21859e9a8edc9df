"""Versions, approvals, decisions, rollouts and lineage events. Retention never touches these."""

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from maestro.clients.database.schema._base import Json, Serial, UtcTime, metadata

model_versions = Table(
    "model_versions",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("digest", String(71), nullable=False, unique=True),
    Column("registry_version", String(32)),
    Column("run_id", String(64), nullable=False),
    Column("job_id", String(64)),
    Column("stage", String(32), nullable=False, default="development"),
    Column("path", String(1024), nullable=False),
    Column("manifest", Json, nullable=False),
    Column("contract", Json, nullable=False),
    Column("contract_digest", String(71), nullable=False),
    Column("metrics", Json, nullable=False),
    Column("submitted_by", String(256), nullable=False),
    Column("registered_by", String(256), nullable=False),
    Column("cost_usd_micros", BigInteger, nullable=False, default=0),
    Column("created_at", UtcTime, nullable=False),
    UniqueConstraint("run_id", "model"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model", String(128), nullable=False),
    Column("version", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("requested_by", String(256), nullable=False),
    Column("requested_at", UtcTime, nullable=False),
    Column("decided_by", String(256)),
    Column("decided_at", UtcTime),
    Column("verdict", String(16)),
    Column("comment", Text),
    Column("version_digest", String(71), nullable=False),
    Column("contract_digest", String(71), nullable=False),
    Column("policy_digest", String(71), nullable=False),
    Column("evidence_digest", String(71), nullable=False),
    Column("evidence", Json, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Index("ix_approvals_version", "model", "version", "status"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("id", String(71), nullable=False, unique=True),
    Column("kind", String(64), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("model", String(128), nullable=False),
    Column("version", String(64), nullable=False),
    Column("rollout_id", String(64)),
    Column("verdict", String(32), nullable=False),
    Column("record", Json, nullable=False),
    Index("ix_decisions_version", "model", "version", "seq"),
    Index("ix_decisions_rollout", "rollout_id", "seq"),
)

policies = Table(
    "policies",
    metadata,
    Column("digest", String(71), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("document", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model", String(128), nullable=False),
    Column("champion", String(64)),
    Column("challenger", String(64), nullable=False),
    Column("strategy", String(32), nullable=False),
    Column("policy_digest", String(71), ForeignKey("policies.digest"), nullable=False),
    Column("status", String(32), nullable=False),
    Column("step", String(64), nullable=False),
    Column("rung", Integer, nullable=False, default=0),
    Column("weight", Float, nullable=False, default=0.0),
    Column("graph_revision", Integer),
    Column("last_decision", String(71)),
    Column("state", Json, nullable=False),
    Column("started_by", String(256), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("fence", BigInteger, nullable=False, default=0),
    Column("lease_expires", UtcTime),
    Index("ix_rollouts_model", "model", "created_at"),
)

lineage_events = Table(
    "lineage_events",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("subject", String(512), nullable=False),
    Column("run_id", String(64)),
    Column("event", Json, nullable=False),
    Index("ix_lineage_events_run", "run_id", "seq"),
    Index("ix_lineage_events_subject", "subject", "seq"),
)
