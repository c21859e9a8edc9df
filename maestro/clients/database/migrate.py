"""Migrations: one chain, version table `maestro_alembic_version`. Services never migrate on start."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from maestro.clients.database.engine import Database
from maestro.core.errors import Unreachable

VERSION_TABLE = "maestro_alembic_version"

# two lines at each look at the version, and every readiness check looks
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)


def _config(database: Database | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    if database is not None:
        config.attributes["database"] = database
    return config


@functools.cache
def head_revision() -> str:
    """The newest revision that this code knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise AssertionError("the chain of migrations is empty")
    return head


def current_revision(database: Database) -> str | None:
    """The revision the database stands at; None when it was never migrated."""
    with database.read() as connection:
        return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def migrate(database: Database, target: str = "head") -> None:
    """Bring the database to `target`; nothing happens when it is there."""
    command.upgrade(_config(database), target)


def require_current(database: Database) -> None:
    """Refuse to work on a database of another revision.

    Raises:
        Unreachable: the database is behind or ahead of this code.
    """
    current, head = current_revision(database), head_revision()
    if current != head:
        raise Unreachable(
            f"platform database {database.url} stands at revision {current or 'none'}, this code needs {head}",
            remedy="run `maestro platform migrate`",
            component="database",
        )
