"""Studies and trials of the hyperparameter search."""

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Integer, String, Table, UniqueConstraint

from maestro.clients.database.schema._base import Json, UtcTime, metadata

ai_hpo_studies = Table(
    "ai_hpo_studies",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant_id", String(128), nullable=False),
    Column("name", String(256), nullable=False),
    Column("status", String(16), nullable=False),
    Column("request", Json, nullable=False),
    Column("run_id", String(64)),
    Column("job_id", String(64)),
    Column("cost_reference_s", Float),
    Column("best", Json),
    Column("error", Json),
    Column("created_by", String(256), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    UniqueConstraint("tenant_id", "name"),
)

ai_hpo_trials = Table(
    "ai_hpo_trials",
    metadata,
    Column("study_id", String(64), ForeignKey("ai_hpo_studies.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("params", Json, nullable=False),
    Column("values", Json),
    Column("seconds", Float),
    Column("wall_s", Float),
    Column("cpu_s", Float),
    Column("peak_memory_bytes", BigInteger),
    Column("run_id", String(64)),
    Column("cost_usd_micros", BigInteger, nullable=False, default=0),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
)
