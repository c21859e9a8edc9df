"""`maestro backup`: make, verify and list backups; the drill that measures how much would be lost and how long restoring takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maestro.cli.console import JsonFlag, emit, out, progress, table

if TYPE_CHECKING:
    from maestro.clients.database import Database
    from maestro.clients.home import Home
    from maestro.core.clock import Clock

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Backups of the platform.")

Target = Annotated[Path, typer.Option("--to", help="Folder of the backups.")]


@app.command()
def create(
    to: Target,
    dump: Annotated[
        Path | None, typer.Option(help="A dump that `pg_dump -Fc` made just before, where its programs are elsewhere.")
    ] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Remove all but so many of the newest.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Back up the platform database, the registry's files and the artifacts, with a digest of each."""
    from maestro.operations.backup import create_backup
    from maestro.operations.backup.folder import read_manifest

    with _platform() as (home, database, clock), progress("backing up") as bar:
        folder = create_backup(home, database, clock, to, dump=dump, keep=keep, progress=bar)
    manifest = read_manifest(folder)
    emit(
        {"backup": str(folder), "digest": manifest.content_digest(), **manifest.document()},
        as_json=as_json,
        human=lambda: out.print(
            f"{folder}: {len(manifest.databases)} databases, {len(manifest.files)} files, {manifest.bytes} bytes",
            highlight=False,
        ),
    )


@app.command()
def verify(
    source: Annotated[Path, typer.Option("--from", help="One backup, or the folder of several: the newest.")],
    as_json: JsonFlag = False,
) -> None:
    """Check every file of a backup against its digest; exit status 1 when one differs."""
    from maestro.operations.backup import latest, verify_backup

    folder = latest(source)
    with progress("verifying"):
        manifest = verify_backup(folder)
    emit(
        {"backup": str(folder), "at": manifest.document()["at"], "files": len(manifest.files), "whole": True},
        as_json=as_json,
        human=lambda: out.print(f"{folder} is whole", highlight=False),
    )


@app.command("list")
def list_backups(to: Target, as_json: JsonFlag = False) -> None:
    """The backups of a folder, oldest first."""
    from maestro.operations.backup import backups
    from maestro.operations.backup.folder import read_manifest

    found = [(folder.name, read_manifest(folder)) for folder in backups(to)]
    emit(
        [{"backup": name, "bytes": one.bytes, "files": len(one.files), "version": one.version} for name, one in found],
        as_json=as_json,
        human=lambda: table(
            "Backups",
            ("backup", "databases", "files", "bytes"),
            [(name, len(one.databases), len(one.files), one.bytes) for name, one in found],
        ),
    )


@app.command()
def drill(
    to: Target,
    rpo: Annotated[str, typer.Option(help="How old the newest backup may be, such as 30m or 1h.")] = "1h",
    rto: Annotated[str, typer.Option(help="How long restoring may take.")] = "15m",
    scratch_url: Annotated[
        str | None, typer.Option(help="An empty database to restore into; by default one is created and removed.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Back up, restore beside the original, compare, and print the recovery point and time that were measured; exit status 1 when a target is missed."""
    from maestro.operations.backup import drill as run
    from maestro.operations.slo import duration_seconds

    with _platform() as (home, database, clock), progress("drill") as bar:
        report = run(
            home, database, clock, to, rpo_target_s=duration_seconds(rpo), rto_target_s=duration_seconds(rto),
            scratch_url=scratch_url, progress=bar,
        )  # fmt: skip

    def show() -> None:
        point = "no backup before this one" if report.rpo_s is None else f"{report.rpo_s:.1f} s"
        out.print(f"recovery point: {point} (target {rpo})", highlight=False)
        out.print(f"recovery time: {report.rto_s:.2f} s (target {rto})", highlight=False)
        out.print(
            f"{report.tables} tables with {report.rows} rows and {report.files} files are the same", highlight=False
        )

    emit(report, as_json=as_json, human=show)
    if not report.met:
        raise typer.Exit(1)


@contextmanager
def _platform() -> Iterator[tuple[Home, Database, Clock]]:
    from maestro.clients.database import open_database
    from maestro.clients.home import Home, database_url
    from maestro.core.clock import SystemClock

    database = open_database(database_url())
    try:
        yield Home.of(), database, SystemClock()
    finally:
        database.dispose()
