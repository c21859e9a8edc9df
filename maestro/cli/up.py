"""`maestro up`: the services in the background, with a first model in production."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from maestro.cli.console import JsonFlag, emit, out, progress, table
from maestro.clients.home import Home

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def up(
    model: Annotated[bool, typer.Option(help="Train and promote a first model.")] = True,
    foreground: Annotated[bool, typer.Option(help="Stay in the foreground until interrupted.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Start MLflow, the API, a worker and the model server on free ports, and put a first model into production."""
    from maestro.lifecycle.laptop import first_model, run_foreground, start_background

    home = Home.of()
    if foreground:
        run_foreground(home)
        return
    with progress("starting services") as bar:
        state = start_background(home, bar)
        served = first_model(home, bar) if model else None
    document = {
        "services": {name: s.document() for name, s in state.services.items()},
        "model": served,
        "home": str(home.root),
    }

    def show() -> None:
        table(
            "Services",
            ["service", "address", "log"],
            [[n, s.url or "–", home.root / s.log] for n, s in state.services.items()],
        )
        if served:
            out.print(f"{served['model']} {served['version']} answers at {served['url']}", highlight=False)
            out.print("ask it, by the key of a person whose features are in the online store:", highlight=False)
            ask = f"curl -X POST {served['predict']} -H 'Content-Type: application/json' -d '{json.dumps(served['example'])}'"
            out.print(f"  {ask}", highlight=False, soft_wrap=True)
        command = Path(sys.argv[0]).absolute()
        shown = command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command.name
        out.print(f'addresses for your shell: eval "$({shown} env)"; stop with: {shown} down', highlight=False)

    emit(document, as_json=as_json, human=show)
