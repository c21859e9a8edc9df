"""The first schema.

Revision ID: 0001
"""

from alembic import op

from maestro.clients.database.schema import metadata
from maestro.clients.database.schema.training import VIEWS

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table and view."""
    metadata.create_all(op.get_bind())
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    """Drop every view and table."""
    for name in VIEWS:
        op.execute(f"DROP VIEW {name}")
    metadata.drop_all(op.get_bind())
