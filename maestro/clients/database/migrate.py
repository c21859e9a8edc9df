"""Migrations: one chain, version table `maestro_alembic_version`. Services never migrate on start.

While an upgrade is under way two releases work on one database. So migrations only add (tables, indexes, columns that may be empty or have a default), and what
an older release needs goes away only with a new epoch, the first digit of a revision: code of epoch 0 works on any later revision of epoch 0.
"""

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


def is_newer(current: str | None) -> bool:
    """Whether a revision is a later release's, and this code may work on it all the same."""
    head = head_revision()
    return current is not None and len(current) == len(head) and current[0] == head[0] and current > head


def migrate(database: Database, target: str = "head") -> None:
    """Bring the database to `target`; nothing happens when it is there, or beyond the head and this code may work on it."""
    if target == "head" and is_newer(current_revision(database)):
        return
    command.upgrade(_config(database), target)


def require_current(database: Database) -> None:
    """Refuse to work on a database that this code cannot work on.

    Raises:
        Unreachable: it is behind this code, or of another epoch.
    """
    current, head = current_revision(database), head_revision()
    if current == head or is_newer(current):
        return
    later = current is not None and current > head
    raise Unreachable(
        f"platform database {database.url} stands at revision {current or 'none'}, this code needs {head}",
        remedy="run the release that migrated it" if later else "run `maestro platform migrate`",
        component="database",
    )
