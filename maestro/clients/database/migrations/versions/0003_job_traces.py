"""A job remembers the trace that it was submitted in, so that its attempts join it in other processes.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; an older version of the platform does not know it and writes none."""
    op.add_column("ai_training_jobs", sa.Column("traceparent", sa.String(length=64), nullable=True))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("ai_training_jobs", "traceparent")
