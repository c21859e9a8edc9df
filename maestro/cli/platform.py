"""`maestro platform`: the platform database."""

from __future__ import annotations

import typer

from maestro.cli.console import JsonFlag, emit, out

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="The platform database.")


@app.callback()
def _root() -> None: ...


@app.command()
def migrate(as_json: JsonFlag = False) -> None:
    """Bring the platform database to the schema of this version. Services never do it themselves."""
    from maestro.clients.database import current_revision, open_database
    from maestro.clients.database import migrate as run
    from maestro.clients.home import database_url

    database = open_database(database_url())
    before = current_revision(database)
    run(database)
    after = current_revision(database)
    emit(
        {"database": database.url, "from": before, "to": after},
        as_json=as_json,
        human=lambda: out.print(f"{database.url}: {before or 'empty'} → {after}", highlight=False),
    )
