"""`maestro env`: where the running services are, as shell exports."""

from __future__ import annotations

import shlex
import sys

import typer

from maestro.cli.console import JsonFlag, emit
from maestro.clients.home import Home, database_url
from maestro.core.errors import Unreachable

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def env(as_json: JsonFlag = False) -> None:
    """Print exports for the running services: eval "$(maestro env)"."""
    home = Home.of()
    state = home.read_state()
    if state is None:
        raise Unreachable(f"no services run in {home.root}", remedy="run `make up`", component="supervisor")
    values = {"MAESTRO_HOME": str(home.root), "MAESTRO_DATABASE_URL": database_url()}
    for name, service in state.services.items():
        if service.url:
            values[f"MAESTRO_{name.upper()}_URL"] = service.url
    values["MLFLOW_TRACKING_URI"] = values["MAESTRO_MLFLOW_URL"]
    emit(
        values,
        as_json=as_json,
        human=lambda: sys.stdout.writelines(f"export {k}={shlex.quote(v)}\n" for k, v in values.items()),
    )
