"""Jobs that are counted, paged and claimed at the same pace however many there are; leases lost; what a trial used.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INDEXES: dict[str, tuple[str, list[str]]] = {
    "ix_ai_training_jobs_page_tenant": ("ai_training_jobs", ["tenant_id", "created_at", "id"]),
    "ix_ai_training_jobs_page_status": ("ai_training_jobs", ["status", "created_at", "id"]),
    "ix_ai_training_jobs_page_type": ("ai_training_jobs", ["model_type", "created_at", "id"]),
    "ix_ai_training_jobs_page_priority": ("ai_training_jobs", ["priority", "created_at", "id"]),
    "ix_ai_training_jobs_history": ("ai_training_jobs", ["model_type", "status", "backend", "created_at"]),
    "ix_ai_training_jobs_ended": ("ai_training_jobs", ["status", "finished_at"]),
    "ix_ai_training_logs_at": ("ai_training_logs", ["at"]),
}
_WAITING = "ix_ai_training_jobs_waiting"
_KEY = ("tenant_id", "model_type", "priority", "backend", "status")


def _add(row: str, sign: str) -> str:
    """One statement that counts a row in (`+`) or out (`-`)."""
    columns, values = ", ".join(_KEY), ", ".join(f"{row}.{name}" for name in _KEY)
    return (
        f"INSERT INTO ai_training_job_counts ({columns}, jobs, cost_usd_micros) "  # noqa: S608 - names of this file
        f"VALUES ({values}, {sign}1, {sign}{row}.cost_usd_micros) "
        f"ON CONFLICT ({columns}) DO UPDATE SET jobs = ai_training_job_counts.jobs {sign} 1, "
        f"cost_usd_micros = ai_training_job_counts.cost_usd_micros {sign} {row}.cost_usd_micros;"
    )


_CHANGED = "OLD.status <> NEW.status OR OLD.cost_usd_micros <> NEW.cost_usd_micros"

_SQLITE = {
    "ai_training_jobs_counted_in": f"AFTER INSERT ON ai_training_jobs BEGIN {_add('NEW', '+')} END",
    "ai_training_jobs_counted_out": f"AFTER DELETE ON ai_training_jobs BEGIN {_add('OLD', '-')} END",
    "ai_training_jobs_counted_anew": (
        f"AFTER UPDATE OF status, cost_usd_micros ON ai_training_jobs WHEN {_CHANGED} "
        f"BEGIN {_add('OLD', '-')} {_add('NEW', '+')} END"
    ),
}

# Rows of the table of counts are locked in the order of their states, so that two transactions never wait for each other.
_POSTGRESQL = f"""
CREATE FUNCTION ai_training_jobs_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN {_add("NEW", "+")}
  ELSIF TG_OP = 'DELETE' THEN {_add("OLD", "-")}
  ELSIF OLD.status <= NEW.status THEN {_add("OLD", "-")} {_add("NEW", "+")}
  ELSE {_add("NEW", "+")} {_add("OLD", "-")}
  END IF;
  RETURN NULL;
END $$
"""


def upgrade() -> None:
    """Add columns, indexes, the table of counts and what keeps it."""
    op.add_column("ai_training_jobs", sa.Column("lost", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("ai_hpo_studies", sa.Column("job_id", sa.String(length=64), nullable=True))
    for name, kind in (("wall_s", sa.Float()), ("cpu_s", sa.Float()), ("peak_memory_bytes", sa.BigInteger())):
        op.add_column("ai_hpo_trials", sa.Column(name, kind, nullable=True))
    op.drop_index("ix_ai_training_jobs_tenant", table_name="ai_training_jobs")
    op.create_index(
        "ix_ai_training_jobs_tenant", "ai_training_jobs", ["tenant_id", "status", "created_at", "id"], unique=False
    )
    for name, (table, indexed) in _INDEXES.items():
        op.create_index(name, table, indexed, unique=False)
    queued = sa.text("status = 'queued'")
    op.create_index(
        _WAITING, "ai_training_jobs", ["tenant_id", "backend", "priority_rank", "created_at", "id"], unique=False,
        sqlite_where=queued, postgresql_where=queued,
    )  # fmt: skip
    op.create_table(
        "ai_training_job_counts",
        sa.Column("tenant_id", sa.String(length=128), nullable=False),
        sa.Column("model_type", sa.String(length=128), nullable=False),
        sa.Column("priority", sa.String(length=16), nullable=False),
        sa.Column("backend", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd_micros", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*_KEY, name=op.f("pk_ai_training_job_counts")),
        comment="how many jobs stand how, and what they cost; kept by triggers, so that counting is flat in the number of jobs",
    )
    columns = ", ".join(_KEY)
    op.execute(
        f"INSERT INTO ai_training_job_counts ({columns}, jobs, cost_usd_micros) "  # noqa: S608 - names of this file
        f"SELECT {columns}, COUNT(*), SUM(cost_usd_micros) FROM ai_training_jobs GROUP BY {columns}"
    )
    if op.get_bind().dialect.name == "sqlite":
        for name, body in _SQLITE.items():
            op.execute(f"CREATE TRIGGER {name} {body}")
        return
    op.execute(_POSTGRESQL)
    op.execute(
        "CREATE TRIGGER ai_training_jobs_counted AFTER INSERT OR DELETE ON ai_training_jobs "
        "FOR EACH ROW EXECUTE FUNCTION ai_training_jobs_count()"
    )
    op.execute(
        "CREATE TRIGGER ai_training_jobs_counted_anew AFTER UPDATE OF status, cost_usd_micros ON ai_training_jobs "
        f"FOR EACH ROW WHEN ({_CHANGED}) EXECUTE FUNCTION ai_training_jobs_count()"
    )


def downgrade() -> None:
    """Take away what `upgrade` added."""
    if op.get_bind().dialect.name == "sqlite":
        for name in _SQLITE:
            op.execute(f"DROP TRIGGER {name}")
    else:
        op.execute("DROP TRIGGER ai_training_jobs_counted ON ai_training_jobs")
        op.execute("DROP TRIGGER ai_training_jobs_counted_anew ON ai_training_jobs")
        op.execute("DROP FUNCTION ai_training_jobs_count")
    op.drop_table("ai_training_job_counts")
    op.drop_index(_WAITING, table_name="ai_training_jobs")
    for name, (table, _) in _INDEXES.items():
        op.drop_index(name, table_name=table)
    op.drop_index("ix_ai_training_jobs_tenant", table_name="ai_training_jobs")
    op.create_index(
        "ix_ai_training_jobs_tenant", "ai_training_jobs", ["tenant_id", "status", "created_at"], unique=False
    )
    for name in ("wall_s", "cpu_s", "peak_memory_bytes"):
        op.drop_column("ai_hpo_trials", name)
    op.drop_column("ai_hpo_studies", "job_id")
    op.drop_column("ai_training_jobs", "lost")
