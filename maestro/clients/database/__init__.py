"""The platform database: engine, one schema, one chain of migrations (SQLite on a laptop, PostgreSQL in a cluster)."""

from maestro.clients.database.engine import Database, open_database
from maestro.clients.database.migrate import current_revision, head_revision, migrate

__all__ = ["Database", "current_revision", "head_revision", "migrate", "open_database"]
