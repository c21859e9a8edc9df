"""Putting a backup back: everything is verified before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from maestro.clients.database import Database, open_database
from maestro.clients.database.dump import count_rows, restore_database
from maestro.clients.home import Home
from maestro.core.errors import Conflict, NegativeVerdict
from maestro.core.seams import NoProgress, Progress
from maestro.operations.backup.create import MAIN
from maestro.operations.backup.folder import BackupManifest, DatabaseEntry, verify_backup


def restore_backup(
    folder: Path,
    home: Home,
    database: Database,
    *,
    replace: bool = False,
    files: bool = True,
    progress: Progress | None = None,
) -> BackupManifest:
    """Restore one backup into a home and a database that are empty, unless `replace` is said.

    Args:
        folder: the backup.
        home: where the files and the other databases go.
        database: where the platform database goes; of the kind that was backed up.
        replace: throw away what is there.
        files: also restore files and other databases.
        progress: is told how far it is.

    Raises:
        NotFound: the folder is no backup.
        NegativeVerdict: the backup is not whole, or a table does not have the rows that it had.
        Conflict: there is something already, or the database is of another kind.
    """
    progress = progress or NoProgress()
    progress.update(0.05, "verifying every digest")
    manifest = verify_backup(folder)
    main = next(one for one in manifest.databases if one.name == MAIN)
    if (main.kind == "sqlite") != database.is_sqlite:
        raise Conflict(
            f"the backup is of {main.kind}, the database {database.url} is not",
            field="database_url",
            remedy="restore into a database of the same kind",
        )
    running = home.read_state()
    if files and running is not None:
        raise Conflict("services run on this home", remedy="stop them first: maestro down")
    if files and not replace:
        there = [entry.path.split("/")[1] for entry in manifest.files if (home.root / _below(entry.path)).exists()]
        if there:
            raise Conflict(
                f"{home.root} is not empty: there is {there[0]}", remedy="restore into an empty home, or say --replace"
            )
    progress.update(0.3, "the platform database")
    _restore(main, folder, database, replace=replace)
    if files:
        for other in manifest.databases:
            if other.name != MAIN:
                progress.update(0.6, other.name)
                opened = open_database(f"sqlite:///{home.root / (other.name + '.db')}")
                try:
                    _restore(other, folder, opened, replace=replace)
                finally:
                    opened.dispose()
        progress.update(0.8, "files")
        for entry in manifest.files:
            target = home.root / _below(entry.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / entry.path, target)
    progress.update(1.0, "restored")
    return manifest


def _restore(entry: DatabaseEntry, folder: Path, database: Database, *, replace: bool) -> None:
    restore_database(database, folder / entry.file.path, replace=replace)
    if not entry.rows:
        return
    with database.read() as connection:
        found = count_rows(connection)
    differing = [name for name, count in entry.rows.items() if found.get(name) != count]
    if differing:
        raise NegativeVerdict(
            f"table {differing[0]} of {entry.name} has {found.get(differing[0], 0)} rows, the backup says {entry.rows[differing[0]]}",
            remedy="stop whoever writes to the database, then restore again",
        )


def _below(path: str) -> str:
    """`files/versions/…` as `versions/…`."""
    return path.partition("/")[2]
