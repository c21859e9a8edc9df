"""`maestro experiments`: experiments and runs through the API."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, out, table
from maestro.clients.api import ApiClient
from maestro.core.errors import BadInput

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Experiments and runs.")

_BASE = "/ai/experiments"


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Its name.")],
    tenant: Annotated[str, typer.Option(help="Whose it is.")] = "default",
    git_commit: Annotated[str | None, typer.Option(help="The commit it starts from.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="name=value; may be repeated.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Create an experiment."""
    tags = {}
    for text in tag or []:
        key, sign, value = text.partition("=")
        if not sign:
            raise BadInput(f"--tag {text!r} cannot be read", field="--tag", remedy="write name=value")
        tags[key] = value
    body: dict[str, Any] = {"name": name, "tenant_id": tenant, "tags": tags} | (
        {"git_commit": git_commit} if git_commit else {}
    )
    created = ApiClient.of().post(_BASE, body)
    emit(created, as_json=as_json, human=lambda: out.print(f"created experiment {created['name']} ({created['id']})"))


@app.command("list")
def list_experiments(
    name: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    page: Annotated[int, typer.Option(min=1)] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List experiments, newest first."""
    found = ApiClient.of().get(_BASE, name=name, tenant_id=tenant, page=page, page_size=page_size)
    rows = [
        (item["id"], item["name"], item["tenant_id"], item["created_by"], item["created_at"]) for item in found["items"]
    ]
    emit(
        found,
        as_json=as_json,
        human=lambda: table(f"Experiments ({found['total']})", ["experiment", "name", "tenant", "by", "at"], rows),
    )


@app.command()
def runs(experiment_id: Annotated[str, typer.Argument(help="The experiment's id.")], as_json: JsonFlag = False) -> None:
    """List the runs of an experiment, newest first."""
    found = ApiClient.of().get(f"{_BASE}/{experiment_id}/runs")
    rows = [
        (
            item["id"],
            item["name"],
            item["status"],
            ", ".join(f"{key} {value:.4g}" for key, value in sorted(item["metrics"].items())[:6] if value is not None),
        )
        for item in found["items"]
    ]
    emit(found, as_json=as_json, human=lambda: table("Runs", ["run", "name", "status", "metrics"], rows))


@app.command()
def show(run_id: Annotated[str, typer.Argument(help="The run's id.")], as_json: JsonFlag = False) -> None:
    """Show a run: parameters, metrics, tags."""
    found = ApiClient.of().get(f"{_BASE}/runs/{run_id}")
    rows = [(kind, key, value) for kind in ("params", "metrics", "tags") for key, value in sorted(found[kind].items())]
    emit(found, as_json=as_json, human=lambda: table(f"Run {run_id}: {found['status']}", ["", "name", "value"], rows))
