"""The first schema.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_VIEWS = {
    "active_training_jobs": (
        "SELECT id, tenant_id, name, model_type, priority, backend, status, progress, worker, created_at, started_at "
        "FROM ai_training_jobs WHERE status IN ('queued', 'running')"
    ),
    "experiment_summary": (
        "SELECT e.id AS experiment_id, e.tenant_id, e.name, m.name AS metric, COUNT(DISTINCT m.run_id) AS runs, "
        "MIN(m.value) AS lowest, MAX(m.value) AS highest, MAX(m.at) AS last_at "
        "FROM ai_experiments e LEFT JOIN ai_experiment_metrics m ON m.experiment_id = e.id "
        "GROUP BY e.id, e.tenant_id, e.name, m.name"
    ),
}


def upgrade() -> None:
    """Create every table and view."""
    op.create_table(
        "ai_experiments",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("mlflow_experiment_id", sa.String(length=64), nullable=True),
        sa.Column("git_commit", sa.String(length=64), nullable=True),
        sa.Column("tags", _JSON, nullable=False),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ai_experiments")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_ai_experiments_tenant_id_name")),
    )
    op.create_table(
        "ai_hpo_studies",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("request", _JSON, nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("cost_reference_s", sa.Float(), nullable=True),
        sa.Column("best", _JSON, nullable=True),
        sa.Column("error", _JSON, nullable=True),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ai_hpo_studies")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_ai_hpo_studies_tenant_id_name")),
    )
    op.create_table(
        "ai_training_jobs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("model_type", sa.String(length=128), nullable=False),
        sa.Column("priority", sa.String(length=16), nullable=False),
        sa.Column("priority_rank", sa.Integer(), nullable=False),
        sa.Column("backend", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("request", _JSON, nullable=False),
        sa.Column("request_digest", sa.String(length=71), nullable=False),
        sa.Column("idempotency_key", sa.String(length=256), nullable=True),
        sa.Column("submitted_by", sa.String(length=256), nullable=False),
        sa.Column("retry_of", sa.String(length=64), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.String(length=256), nullable=True),
        sa.Column("lease_expires", _TIME, nullable=True),
        sa.Column("cancel_requested", sa.Integer(), nullable=False),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("model_uri", sa.String(length=1024), nullable=True),
        sa.Column("result", _JSON, nullable=True),
        sa.Column("error", _JSON, nullable=True),
        sa.Column("cost_usd_micros", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME, nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["retry_of"], ["ai_training_jobs.id"], name=op.f("fk_ai_training_jobs_retry_of_ai_training_jobs")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ai_training_jobs")),
        sa.UniqueConstraint("tenant_id", "idempotency_key", name=op.f("uq_ai_training_jobs_tenant_id_idempotency_key")),
    )
    op.create_index(
        "ix_ai_training_jobs_claim", "ai_training_jobs", ["status", "priority_rank", "created_at", "id"], unique=False
    )
    op.create_index("ix_ai_training_jobs_page", "ai_training_jobs", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_ai_training_jobs_tenant", "ai_training_jobs", ["tenant_id", "status", "created_at"], unique=False
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("requested_by", sa.String(length=256), nullable=False),
        sa.Column("requested_at", _TIME, nullable=False),
        sa.Column("decided_by", sa.String(length=256), nullable=True),
        sa.Column("decided_at", _TIME, nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("version_digest", sa.String(length=71), nullable=False),
        sa.Column("contract_digest", sa.String(length=71), nullable=False),
        sa.Column("policy_digest", sa.String(length=71), nullable=False),
        sa.Column("evidence_digest", sa.String(length=71), nullable=False),
        sa.Column("evidence", _JSON, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
    )
    op.create_index("ix_approvals_version", "approvals", ["model", "version", "status"], unique=False)
    op.create_table(
        "audit_heads",
        sa.Column("seq", _SERIAL, autoincrement=False, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("entry_digest", sa.String(length=71), nullable=False),
        sa.Column("envelope", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_heads")),
    )
    op.create_table(
        "audit_log",
        sa.Column("seq", _SERIAL, autoincrement=False, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("action", sa.String(length=128), nullable=False),
        sa.Column("subject", sa.String(length=512), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("data", _JSON, nullable=False),
        sa.Column("prev", sa.String(length=71), nullable=False),
        sa.Column("entry_digest", sa.String(length=71), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_log")),
        sa.UniqueConstraint("entry_digest", name=op.f("uq_audit_log_entry_digest")),
    )
    op.create_table(
        "cost_entries",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=512), nullable=False),
        sa.Column("attempt", sa.String(length=128), nullable=False),
        sa.Column("tenant_id", sa.String(length=128), nullable=False),
        sa.Column("wall_s", sa.Float(), nullable=False),
        sa.Column("cpu_s", sa.Float(), nullable=False),
        sa.Column("allocated", _JSON, nullable=False),
        sa.Column("used_usd_micros", sa.BigInteger(), nullable=False),
        sa.Column("bill_usd_micros", sa.BigInteger(), nullable=False),
        sa.Column("rates", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_cost_entries")),
        sa.UniqueConstraint("kind", "subject", "attempt", name=op.f("uq_cost_entries_kind_subject_attempt")),
    )
    op.create_index("ix_cost_entries_subject", "cost_entries", ["subject"], unique=False)
    op.create_table(
        "decisions",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=71), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("rollout_id", sa.String(length=64), nullable=True),
        sa.Column("verdict", sa.String(length=32), nullable=False),
        sa.Column("record", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_decisions")),
        sa.UniqueConstraint("id", name=op.f("uq_decisions_id")),
    )
    op.create_index("ix_decisions_rollout", "decisions", ["rollout_id", "seq"], unique=False)
    op.create_index("ix_decisions_version", "decisions", ["model", "version", "seq"], unique=False)
    op.create_table(
        "drift_reports",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("dataset", sa.String(length=256), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("report", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_reports")),
    )
    op.create_table(
        "lineage_events",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=512), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("event", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_lineage_events")),
    )
    op.create_index("ix_lineage_events_run", "lineage_events", ["run_id", "seq"], unique=False)
    op.create_index("ix_lineage_events_subject", "lineage_events", ["subject", "seq"], unique=False)
    op.create_table(
        "model_versions",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("registry_version", sa.String(length=32), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("manifest", _JSON, nullable=False),
        sa.Column("contract", _JSON, nullable=False),
        sa.Column("contract_digest", sa.String(length=71), nullable=False),
        sa.Column("metrics", _JSON, nullable=False),
        sa.Column("submitted_by", sa.String(length=256), nullable=False),
        sa.Column("registered_by", sa.String(length=256), nullable=False),
        sa.Column("cost_usd_micros", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("model", "version", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("digest", name=op.f("uq_model_versions_digest")),
        sa.UniqueConstraint("run_id", "model", name=op.f("uq_model_versions_run_id_model")),
    )
    op.create_table(
        "outbox",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("kind", sa.String(length=128), nullable=False),
        sa.Column("subject", sa.String(length=512), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("trace", sa.String(length=64), nullable=True),
        sa.Column("data", _JSON, nullable=False),
        sa.Column("delivered_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_outbox")),
    )
    op.create_index("ix_outbox_undelivered", "outbox", ["delivered_at", "seq"], unique=False)
    op.create_table(
        "policies",
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("document", _JSON, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_policies")),
    )
    op.create_table(
        "principals",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("roles", _JSON, nullable=False),
        sa.Column("tenants", _JSON, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("disabled_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_principals")),
    )
    op.create_table(
        "slo_cursors",
        sa.Column("source", sa.String(length=512), nullable=False),
        sa.Column("at", _TIME, nullable=True),
        sa.Column("state", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_slo_cursors")),
    )
    op.create_table(
        "slo_rollups",
        sa.Column("slo", sa.String(length=128), nullable=False),
        sa.Column("hour", _TIME, nullable=False),
        sa.Column("good", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("gap_seconds", sa.Float(), nullable=False),
        sa.Column("details", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("slo", "hour", name=op.f("pk_slo_rollups")),
    )
    op.create_table(
        "ai_experiment_metrics",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("experiment_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["ai_experiments.id"],
            name=op.f("fk_ai_experiment_metrics_experiment_id_ai_experiments"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_ai_experiment_metrics")),
    )
    op.create_index(
        "ix_ai_experiment_metrics_series",
        "ai_experiment_metrics",
        ["experiment_id", "run_id", "name", "step"],
        unique=False,
    )
    op.create_table(
        "ai_experiment_params",
        sa.Column("experiment_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["ai_experiments.id"],
            name=op.f("fk_ai_experiment_params_experiment_id_ai_experiments"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("experiment_id", "run_id", "name", "version", name=op.f("pk_ai_experiment_params")),
    )
    op.create_table(
        "ai_hpo_trials",
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("params", _JSON, nullable=False),
        sa.Column("values", _JSON, nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("cost_usd_micros", sa.BigInteger(), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["ai_hpo_studies.id"],
            name=op.f("fk_ai_hpo_trials_study_id_ai_hpo_studies"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("study_id", "number", name=op.f("pk_ai_hpo_trials")),
    )
    op.create_table(
        "ai_training_logs",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["ai_training_jobs.id"],
            name=op.f("fk_ai_training_logs_job_id_ai_training_jobs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_ai_training_logs")),
    )
    op.create_index("ix_ai_training_logs_job", "ai_training_logs", ["job_id", "seq"], unique=False)
    op.create_table(
        "principal_keys",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("principal", sa.String(length=128), nullable=False),
        sa.Column("secret_hash", sa.String(length=128), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=True),
        sa.Column("revoked_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["principal"], ["principals.name"], name=op.f("fk_principal_keys_principal_principals")
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_principal_keys")),
    )
    op.create_index("ix_principal_keys_principal", "principal_keys", ["principal"], unique=False)
    op.create_table(
        "rollouts",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("champion", sa.String(length=64), nullable=True),
        sa.Column("challenger", sa.String(length=64), nullable=False),
        sa.Column("strategy", sa.String(length=32), nullable=False),
        sa.Column("policy_digest", sa.String(length=71), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("step", sa.String(length=64), nullable=False),
        sa.Column("rung", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("graph_revision", sa.Integer(), nullable=True),
        sa.Column("last_decision", sa.String(length=71), nullable=True),
        sa.Column("state", _JSON, nullable=False),
        sa.Column("started_by", sa.String(length=256), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lease_expires", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["policy_digest"], ["policies.digest"], name=op.f("fk_rollouts_policy_digest_policies")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollouts")),
    )
    op.create_index("ix_rollouts_model", "rollouts", ["model", "created_at"], unique=False)
    for name, query in _VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    """Drop every view and table."""
    for name in _VIEWS:
        op.execute(f"DROP VIEW {name}")
    op.drop_index("ix_rollouts_model", table_name="rollouts")
    op.drop_table("rollouts")
    op.drop_index("ix_principal_keys_principal", table_name="principal_keys")
    op.drop_table("principal_keys")
    op.drop_index("ix_ai_training_logs_job", table_name="ai_training_logs")
    op.drop_table("ai_training_logs")
    op.drop_table("ai_hpo_trials")
    op.drop_table("ai_experiment_params")
    op.drop_index("ix_ai_experiment_metrics_series", table_name="ai_experiment_metrics")
    op.drop_table("ai_experiment_metrics")
    op.drop_table("slo_rollups")
    op.drop_table("slo_cursors")
    op.drop_table("principals")
    op.drop_table("policies")
    op.drop_index("ix_outbox_undelivered", table_name="outbox")
    op.drop_table("outbox")
    op.drop_table("model_versions")
    op.drop_index("ix_lineage_events_subject", table_name="lineage_events")
    op.drop_index("ix_lineage_events_run", table_name="lineage_events")
    op.drop_table("lineage_events")
    op.drop_table("drift_reports")
    op.drop_index("ix_decisions_version", table_name="decisions")
    op.drop_index("ix_decisions_rollout", table_name="decisions")
    op.drop_table("decisions")
    op.drop_index("ix_cost_entries_subject", table_name="cost_entries")
    op.drop_table("cost_entries")
    op.drop_table("audit_log")
    op.drop_table("audit_heads")
    op.drop_index("ix_approvals_version", table_name="approvals")
    op.drop_table("approvals")
    op.drop_index("ix_ai_training_jobs_tenant", table_name="ai_training_jobs")
    op.drop_index("ix_ai_training_jobs_page", table_name="ai_training_jobs")
    op.drop_index("ix_ai_training_jobs_claim", table_name="ai_training_jobs")
    op.drop_table("ai_training_jobs")
    op.drop_table("ai_hpo_studies")
    op.drop_table("ai_experiments")
