"""`maestro versions`: register, list, show, compare, promote; what can be rolled back to."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, out, script, table
from maestro.clients.api import ApiClient
from maestro.core.money import format_usd

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Model versions.")

ModelName = Annotated[str, typer.Option("--model", "--model-name", help="The registered model.")]
VersionName = Annotated[str, typer.Option("--version", "--model-version", help="Semantic version or registry number.")]


@app.command("list")
def list_versions(
    model: Annotated[str | None, typer.Option("--model", "--model-name", help="Only of this model.")] = None,
    stage: Annotated[str | None, typer.Option(help="development, staging, production or archived.")] = None,
    page: Annotated[int, typer.Option(min=1)] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List versions, newest first."""
    found = ApiClient.of().get("/versions", model=model, stage=stage, page=page, page_size=page_size)
    emit(found, as_json=as_json, human=lambda: _print(found))


@app.command()
def show(model: ModelName, version: VersionName, as_json: JsonFlag = False) -> None:
    """Show one version."""
    found = ApiClient.of().get(f"/versions/{model}/{version}")
    emit(found, as_json=as_json, human=lambda: _show(found))


@app.command()
def register(
    model: ModelName,
    run_id: Annotated[str, typer.Option("--run-id", help="The MLflow run that logged the model.")],
    model_uri: Annotated[str | None, typer.Option(help="Which model, when the run logged several.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Register the model of a run; the same run again gives the same version."""
    found = ApiClient.of().post("/versions", {"model": model, "run_id": run_id, "model_uri": model_uri})
    emit(found, as_json=as_json, human=lambda: _show(found))


@app.command()
def compare(
    model: ModelName,
    a: Annotated[str, typer.Option("--a", help="The version to compare with.")],
    b: Annotated[str, typer.Option("--b", help="The version that is compared.")],
    as_json: JsonFlag = False,
) -> None:
    """Compare two versions: metrics, contract, files, cost."""
    found = ApiClient.of().get(f"/versions/{model}/{a}/compare/{b}")

    def human() -> None:
        rows = [(name, *values) for name, values in found["metrics"].items()]
        table(f"{model}: {a} and {b}", ("metric", a, b), rows)
        out.print(f"callers would break: {'yes' if found['contract_breaks'] else 'no'}")
        out.print(f"features added: {', '.join(found['features_added']) or 'none'}")
        out.print(f"features removed: {', '.join(found['features_removed']) or 'none'}")
        out.print(f"files changed: {len(found['files_changed'])}")

    emit(found, as_json=as_json, human=human)


@app.command()
def promote(
    model: ModelName,
    version: VersionName,
    to: Annotated[str, typer.Option("--to", help="staging, or production for a version that holds a promotion.")],
    as_json: JsonFlag = False,
) -> None:
    """Record a version's stage. Traffic does not move: that is `maestro deploy start`."""
    found = ApiClient.of().post(f"/versions/{model}/{version}/promote", {"to": to})
    emit(found, as_json=as_json, human=lambda: _show(found))


@app.command("rollback-list")
def rollback_list(model: ModelName, as_json: JsonFlag = False) -> None:
    """What traffic may be rolled back to at once."""
    found = ApiClient.of().get(f"/versions/{model}/promoted")
    rows = [(item["version"], item["promoted"], item["digest"][:19]) for item in found]
    emit(found, as_json=as_json, human=lambda: table(f"{model}: promoted", ("version", "promoted", "digest"), rows))


@app.command()
def aliases(model: ModelName, as_json: JsonFlag = False) -> None:
    """The registry's aliases of a model: a record, by which nothing is routed."""
    found = ApiClient.of().get(f"/versions/{model}/aliases")
    rows = sorted(found["aliases"].items())
    emit(found, as_json=as_json, human=lambda: table(f"{model}: aliases", ("alias", "registry version"), rows))


def _print(found: dict[str, Any]) -> None:
    rows = [
        (
            item["model"],
            item["version"],
            item["stage"],
            item.get("registry_version"),
            item["submitted_by"],
            item["created_at"],
        )
        for item in found["items"]
    ]
    table(f"versions ({found['total']})", ("model", "version", "stage", "registry", "submitted by", "registered"), rows)


def _show(found: dict[str, Any]) -> None:
    rows = [
        ("version", f"{found['model']}@{found['version']}"),
        ("stage", found["stage"]),
        ("digest", found["digest"]),
        ("registry version", found.get("registry_version")),
        ("run", found["run_id"]),
        ("job", found.get("job_id")),
        ("files", len(found["manifest"]["files"])),
        ("features", len(found["contract"]["features"])),
        ("metrics", ", ".join(f"{name} {value:.4g}" for name, value in found["metrics"].items())),
        ("training cost", format_usd(found["cost_usd_micros"])),
        ("submitted by", found["submitted_by"]),
        ("registered by", found["registered_by"]),
    ]
    table("", ("field", "value"), rows)


main = script(app, "version-management.py")
