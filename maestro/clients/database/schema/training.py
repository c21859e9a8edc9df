"""Training jobs, their logs, and experiments."""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

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
    Column("lost", Integer, nullable=False, default=0, server_default=text("0")),
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
    Column("traceparent", String(64)),
    UniqueConstraint("tenant_id", "idempotency_key"),
    Index("ix_ai_training_jobs_claim", "status", "priority_rank", "created_at", "id"),
    Index("ix_ai_training_jobs_tenant", "tenant_id", "status", "created_at", "id"),
    Index("ix_ai_training_jobs_page", "created_at", "id"),
    Index("ix_ai_training_jobs_page_tenant", "tenant_id", "created_at", "id"),
    Index("ix_ai_training_jobs_page_status", "status", "created_at", "id"),
    Index("ix_ai_training_jobs_page_type", "model_type", "created_at", "id"),
    Index("ix_ai_training_jobs_page_priority", "priority", "created_at", "id"),
    Index("ix_ai_training_jobs_history", "model_type", "status", "backend", "created_at"),
    Index("ix_ai_training_jobs_ended", "status", "finished_at"),
    Index(
        "ix_ai_training_jobs_waiting", "tenant_id", "backend", "priority_rank", "created_at", "id",
        sqlite_where=text("status = 'queued'"), postgresql_where=text("status = 'queued'"),
    ),
)  # fmt: skip

ai_training_job_counts = Table(
    "ai_training_job_counts",
    metadata,
    Column("tenant_id", String(128), primary_key=True),
    Column("model_type", String(128), primary_key=True),
    Column("priority", String(16), primary_key=True),
    Column("backend", String(64), primary_key=True),
    Column("status", String(16), primary_key=True),
    Column("jobs", BigInteger, nullable=False),
    Column("cost_usd_micros", BigInteger, nullable=False),
    comment="how many jobs stand how, and what they cost; kept by triggers, so that counting is flat in the number of jobs",
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
    Index("ix_ai_training_logs_at", "at"),
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

views = MetaData()
"""The views of the migrations, to be read by column; a MetaData of their own, since they are no tables."""

active_training_jobs = Table(
    "active_training_jobs",
    views,
    *(
        Column(name, String)
        for name in ("id", "tenant_id", "name", "model_type", "priority", "backend", "status", "worker")
    ),
    Column("progress", Float),
    Column("created_at", UtcTime),
    Column("started_at", UtcTime),
)

experiment_summary = Table(
    "experiment_summary",
    views,
    *(Column(name, String) for name in ("experiment_id", "tenant_id", "name", "metric")),
    Column("runs", Integer),
    Column("lowest", Float),
    Column("highest", Float),
    Column("last_at", UtcTime),
)
