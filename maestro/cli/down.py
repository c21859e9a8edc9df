"""`maestro down`: end what `maestro up` started."""

from __future__ import annotations

import typer

from maestro.cli.console import JsonFlag, emit, out
from maestro.clients.home import Home

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def down(as_json: JsonFlag = False) -> None:
    """Stop the supervisor of this home and everything it started."""
    from maestro.lifecycle.laptop import stop_background

    home = Home.of()
    stopped = stop_background(home)
    text = f"stopped the services of {home.root}" if stopped else f"nothing runs in {home.root}"
    emit({"stopped": stopped, "home": str(home.root)}, as_json=as_json, human=lambda: out.print(text, highlight=False))
