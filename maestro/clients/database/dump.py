"""A whole database as one file, and back: SQLite by its online backup, PostgreSQL by `pg_dump -Fc` in the snapshot whose rows were counted."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect, make_url, text
from sqlalchemy.exc import DBAPIError

from maestro.clients.database.engine import Database, open_database
from maestro.core.errors import Conflict, Malformed, Unreachable

Rows = dict[str, int]
"""Rows by table."""


def dump_database(database: Database, file: Path) -> Rows:
    """Write the database to a new file while others work on it; gives the rows of each table in it.

    Raises:
        Unreachable: the database is gone, or pg_dump is missing or fails.
    """
    if database.is_sqlite:
        with (
            closing(sqlite3.connect(f"file:{_path(database)}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(file)) as target,
        ):
            source.backup(target)
            # the copy stands for itself: no journal beside it
            target.execute("PRAGMA journal_mode=DELETE")
        return count_file(file)
    with database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        rows = count_rows(connection)
        _run(
            "pg_dump", database, "--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}",
            f"--file={file}",
        )  # fmt: skip
    return rows


def restore_database(database: Database, file: Path, *, replace: bool = False) -> None:
    """Put a file's content into an empty database; what fails leaves it as it was.

    Args:
        database: where to.
        file: made by `dump_database`.
        replace: throw away what is there.

    Raises:
        Conflict: there are tables, and `replace` was not said.
        Malformed: the file is no dump of this kind of database.
        Unreachable: the database is gone, or pg_restore is missing or fails.
    """
    with database.read() as connection:
        there = bool(inspect(connection).get_table_names())
    if there and not replace:
        raise Conflict(
            f"the database {database.url} is not empty",
            remedy="restore into an empty one, or say --replace to throw away what is there",
        )
    if database.is_sqlite:
        check_file(file)
        database.dispose()
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(_path(database))) as target:
            source.backup(target)
        return
    # one transaction: the old tables stand until the new ones do
    _run(
        "pg_restore", database, "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction",
        *(["--clean", "--if-exists"] if there else []), str(file),
    )  # fmt: skip


def check_file(file: Path) -> None:
    """Refuse a file that is no sound SQLite database.

    Raises:
        Malformed: it is not.
    """
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as source:
            (verdict,) = source.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise Malformed(f"{file.name} is no sound SQLite database: {verdict}", remedy="take an earlier backup")


def count_rows(connection: Connection) -> Rows:
    """The rows of every table."""
    names = sorted(inspect(connection).get_table_names())
    quote = connection.dialect.identifier_preparer.quote
    return {
        name: int(connection.execute(text(f"SELECT COUNT(*) FROM {quote(name)}")).scalar_one())  # noqa: S608 - quoted
        for name in names
    }


def count_file(file: Path) -> Rows:
    """The rows of every table of an SQLite file."""
    database = open_database(f"sqlite:///{file}")
    try:
        with database.read() as connection:
            return count_rows(connection)
    finally:
        database.dispose()


def scratch_database(database: Database, name: str) -> str:
    """Create an empty database beside this one; gives its URL, password included.

    Raises:
        Unreachable: the role may not create databases.
    """
    if database.is_sqlite:
        return f"sqlite:///{Path(_path(database)).with_name(name + '.db')}"
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        quoted = connection.dialect.identifier_preparer.quote(name)
        try:
            connection.execute(text(f"CREATE DATABASE {quoted}"))
        except DBAPIError as error:
            raise Unreachable(
                f"no scratch database can be created: {str(error).splitlines()[0]}",
                remedy="give the role CREATEDB, or name an empty database with --scratch-url",
                component="database",
            ) from None
    return database.engine.url.set(database=name).render_as_string(hide_password=False)


def drop_scratch(database: Database, name: str) -> None:
    """Remove what `scratch_database` created."""
    if database.is_sqlite:
        for end in ("", "-wal", "-shm"):
            Path(f"{Path(_path(database)).with_name(name + '.db')}{end}").unlink(missing_ok=True)
        return
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        quoted = connection.dialect.identifier_preparer.quote(name)
        connection.execute(text(f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE)"))


def _path(database: Database) -> str:
    return str(database.engine.url.database)


def _run(program: str, database: Database, *words: str) -> None:
    found = shutil.which(program)
    if found is None:
        raise Unreachable(
            f"{program} is not on PATH",
            remedy="install PostgreSQL's client programs, of the server's version or newer",
            component=program,
        )
    done = subprocess.run(
        [found, *words, *_connection(database)], env=_environment(database), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise Unreachable(
            f"{program}: {reason}", remedy="see that the server answers and the file is whole", component=program
        )


def _connection(database: Database) -> list[str]:
    url = make_url(database.engine.url)
    host = url.host or url.query.get("host")
    words = [f"--dbname={url.database}"]
    words += [f"--host={host}"] if isinstance(host, str) and host else []
    words += [f"--port={url.port}"] if url.port else []
    words += [f"--username={url.username}"] if url.username else []
    return [*words, "--no-password"]


def _environment(database: Database) -> Mapping[str, str]:
    # a password in the arguments would stand in the list of processes
    password = database.engine.url.password
    return {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}
