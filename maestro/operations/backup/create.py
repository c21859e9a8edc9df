"""Making a backup while everything runs: databases first, each in one snapshot, then the files, which are only ever added."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from maestro import __version__
from maestro.clients.database import Database, current_revision, open_database
from maestro.clients.database.dump import dump_database
from maestro.clients.home import Home
from maestro.core.clock import Clock
from maestro.core.errors import BadInput, Unreachable
from maestro.core.seams import NoProgress, Progress
from maestro.operations.backup.folder import FORMAT, BackupManifest, DatabaseEntry, backups, measure, write_manifest

KEPT = (
    "versions",
    "graphs",
    "drift",
    "data",
    "mlartifacts",
    "audit-heads.jsonl",
    "trust-policy.json",
    "server-keys.json",
)
"""What of the home is kept. Private keys are not: they are in Vault, or in the operator's own store. Exposures and logs are not either."""

MAIN = "maestro"


def create_backup(
    home: Home,
    database: Database,
    clock: Clock,
    target: Path,
    *,
    dump: Path | None = None,
    keep: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write one backup below `target`; gives its folder.

    Args:
        home: its databases (SQLite files) and files.
        database: the platform database.
        clock: dates the backup.
        target: a folder; it is created.
        dump: a dump of the platform database that `pg_dump -Fc` made just before, where the client programs are elsewhere.
        keep: remove all but so many of the newest backups afterwards.
        progress: is told how far it is.

    Raises:
        Unreachable: a database is gone, the disk is full, or a program is missing.
        BadInput: the target lies in what is kept, or the dump is not there.
    """
    progress = progress or NoProgress()
    target = target.expanduser().resolve()
    if any(target.is_relative_to(home.root / name) for name in KEPT):
        raise BadInput(f"{target} lies in what is backed up", field="--to", remedy="name a folder elsewhere")
    if dump is not None and not dump.is_file():
        raise BadInput(f"the dump {dump} does not exist", field="--dump", remedy="make it with pg_dump -Fc")
    began = clock.monotonic()
    at = clock.now()
    work = target / f".{at.strftime(FORMAT)}"
    try:
        (work / "databases").mkdir(parents=True)
        databases = list(_databases(home, database, work, dump, progress))
        files = [measure(work, path) for path in _files(home, work, progress)]
        manifest = BackupManifest(
            at=at,
            took_s=round(clock.monotonic() - began, 3),
            version=__version__,
            databases=tuple(databases),
            files=tuple(files),
        )
        write_manifest(work, manifest)
        _sync(work)
        # until it has its name it is no backup
        final = work.rename(target / work.name.removeprefix("."))
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        raise Unreachable(
            f"the backup cannot be written to {target}: {error.strerror or error}",
            remedy="free space, or name another folder",
            component="backup",
        ) from None
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    if keep is not None:
        for old in backups(target)[:-keep]:
            shutil.rmtree(old)
    progress.update(1.0, "the backup is complete")
    return final


def _databases(
    home: Home, database: Database, work: Path, dump: Path | None, progress: Progress
) -> Iterator[DatabaseEntry]:
    progress.update(0.05, "the platform database")
    kind = "sqlite" if database.is_sqlite else "postgresql"
    file = work / "databases" / (f"{MAIN}.db" if database.is_sqlite else f"{MAIN}.dump")
    if dump is not None:
        shutil.copyfile(dump, file)
        rows = {}
    else:
        rows = dump_database(database, file)
    yield DatabaseEntry(
        name=MAIN,
        kind="sqlite" if kind == "sqlite" else "postgresql",
        file=measure(work, file),
        revision=current_revision(database),
        rows=rows,
    )
    for other in sorted(home.root.glob("*.db")):
        if other == home.database or other.name == f"{MAIN}.db":
            continue
        progress.update(0.3, other.name)
        copy = work / "databases" / other.name
        found = open_database(f"sqlite:///{other}")
        try:
            rows = dump_database(found, copy)
        finally:
            found.dispose()
        yield DatabaseEntry(name=other.stem, kind="sqlite", file=measure(work, copy), rows=rows)


def _files(home: Home, work: Path, progress: Progress) -> Iterator[Path]:
    for number, name in enumerate(KEPT):
        progress.update(0.4 + 0.5 * number / len(KEPT), name)
        source = home.root / name
        for path in _plain(source):
            copy = work / "files" / path.relative_to(home.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            yield copy


def _plain(source: Path) -> Sequence[Path]:
    """The plain files below; links are not followed and temporary files are left out."""
    if source.is_file() and not source.is_symlink():
        return [source]
    return sorted(
        path for path in source.rglob("*") if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
    )


def _sync(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
