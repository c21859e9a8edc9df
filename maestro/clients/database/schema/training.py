"""Training jobs, their logs, and experiments."""

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from maestro.clients.database.schema._base import Json, Serial, UtcTime, metadata

ai_training_jobs = Table(
    "ai_training_jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant_id", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("model_type", String(128), nullable=False),
    Column("priority", String(16), nullable=False),
    Column("priority_rank", Integer, nullable=False),
    Column("backend", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("request", Json, nullable=False),
    Column("request_digest", String(71), nullable=False),
    Column("idempotency_key", String(256)),
    Column("submitted_by", String(256), nullable=False),
    Column("retry_of", String(64), ForeignKey("ai_training_jobs.id")),
    Column("attempt", Integer, nullable=False, default=0),
    Column("fence", BigInteger, nullable=False, default=0),
    Column("worker", String(256)),
    Column("lease_expires", UtcTime),
    Column("cancel_requested", Integer, nullable=False, default=0),
    Column("progress", Float, nullable=False, default=0.0),
    Column("message", Text),
    Column("run_id", String(64)),
    Column("model_uri", String(1024)),
    Column("result", Json),
    Column("error", Json),
    Column("cost_usd_micros", BigInteger, nullable=False, default=0),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    UniqueConstraint("tenant_id", "idempotency_key"),
    Index("ix_ai_training_jobs_claim", "status", "priority_rank", "created_at", "id"),
    Index("ix_ai_training_jobs_tenant", "tenant_id", "status", "created_at"),
    Index("ix_ai_training_jobs_page", "created_at", "id"),
)

ai_training_logs = Table(
    "ai_training_logs",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("job_id", String(64), ForeignKey("ai_training_jobs.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("level", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Index("ix_ai_training_logs_job", "job_id", "seq"),
)

ai_experiments = Table(
    "ai_experiments",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant_id", String(128), nullable=False),
    Column("name", String(256), nullable=False),
    Column("mlflow_experiment_id", String(64)),
    Column("git_commit", String(64)),
    Column("tags", Json, nullable=False),
    Column("created_by", String(256), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    UniqueConstraint("tenant_id", "name"),
)

ai_experiment_metrics = Table(
    "ai_experiment_metrics",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("experiment_id", String(64), ForeignKey("ai_experiments.id", ondelete="CASCADE"), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("name", String(256), nullable=False),
    Column("value", Float, nullable=False),
    Column("step", BigInteger, nullable=False, default=0),
    Column("at", UtcTime, nullable=False),
    Index("ix_ai_experiment_metrics_series", "experiment_id", "run_id", "name", "step"),
)

ai_experiment_params = Table(
    "ai_experiment_params",
    metadata,
    Column("experiment_id", String(64), ForeignKey("ai_experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("run_id", String(64), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("version", Integer, primary_key=True, default=1),
    Column("value", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
)
