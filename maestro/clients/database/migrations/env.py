"""Alembic's entry: runs the chain on the database it is given."""

from alembic import context

from maestro.clients.database.engine import Database
from maestro.clients.database.schema import metadata

database: Database = context.config.attributes["database"]

with database.begin() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table="maestro_alembic_version",
        render_as_batch=True,
        transaction_per_migration=False,
    )
    context.run_migrations()
