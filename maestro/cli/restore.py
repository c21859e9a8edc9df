"""`maestro restore`: put a backup back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maestro.cli.console import JsonFlag, emit, out, progress

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def restore(
    source: Annotated[Path, typer.Option("--from", help="One backup, or the folder of several: the newest.")],
    replace: Annotated[bool, typer.Option("--replace", help="Throw away what is there.")] = False,
    files: Annotated[bool, typer.Option("--files/--database-only", help="Also the files and other databases.")] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Verify a backup, then restore the platform database, the registry's files and the artifacts."""
    from maestro.clients.database import open_database
    from maestro.clients.home import Home, database_url
    from maestro.operations.backup import latest, restore_backup

    folder = latest(source)
    home, database = Home.of(), open_database(database_url())
    if not yes:
        typer.confirm(f"Restore {folder.name} into {home.root} and {database.url}?", abort=True)
    try:
        with progress("restoring") as bar:
            manifest = restore_backup(folder, home, database, replace=replace, files=files, progress=bar)
    finally:
        database.dispose()
    emit(
        {"backup": str(folder), "at": manifest.document()["at"], "files": len(manifest.files)},
        as_json=as_json,
        human=lambda: out.print(
            f"restored {folder.name}; now run `maestro platform migrate` and `maestro audit verify`", highlight=False
        ),
    )
