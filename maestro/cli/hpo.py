"""`maestro hpo`: studies that run as jobs, through the API; `maestro tune run --submit` starts one."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, out, table
from maestro.cli.following import follow
from maestro.clients.api import ApiClient
from maestro.core.errors import BadInput, NegativeVerdict
from maestro.core.money import format_usd

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Studies that run as jobs: list, show, follow, cancel, report.",
)

StudyId = Annotated[str, typer.Argument(help="The study's id.")]
_BASE = "/ai/hpo/studies"


@app.command("list")
def list_studies(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    page: Annotated[int, typer.Option(min=1)] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List studies, newest first."""
    found = ApiClient.of().get(_BASE, tenant_id=tenant, page=page, page_size=page_size)
    rows = [
        (item["id"], item["name"], item["status"], item["trials"], format_usd(item["cost_usd_micros"], places=6))
        for item in found["items"]
    ]
    emit(
        found, as_json=as_json,
        human=lambda: table(f"Studies ({found['total']})", ["study", "name", "status", "trials", "cost"], rows),
    )  # fmt: skip


@app.command()
def show(study_id: StudyId, as_json: JsonFlag = False) -> None:
    """Show a study: state, best trial, importance, history."""
    client = ApiClient.of()
    study = client.get(f"{_BASE}/{study_id}")
    points = client.get(f"{_BASE}/{study_id}/history")["points"]
    emit(study | {"history": points}, as_json=as_json, human=lambda: _show(study, points))


@app.command()
def trials(
    study_id: StudyId,
    page: Annotated[int, typer.Option(min=1)] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=200)] = 50,
    front: Annotated[bool, typer.Option("--front", help="Only those that no other beats in every objective.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List a study's trials by number, with what each used and cost."""
    client = ApiClient.of()
    found = (
        client.get(f"{_BASE}/{study_id}/front")
        if front
        else client.get(f"{_BASE}/{study_id}/trials", page=page, page_size=page_size)
    )
    rows = [
        (
            item["number"], item["state"], ", ".join(f"{value:.5g}" for value in item.get("values") or ()), f"{item.get('wall_s') or 0:.3g}",
            f"{item.get('cpu_s') or 0:.3g}", format_usd(item["cost_usd_micros"], places=6),
            ", ".join(f"{name}={value}" for name, value in item["params"].items()),
        )
        for item in found["trials" if front else "items"]
    ]  # fmt: skip
    columns = ["trial", "state", "value", "wall s", "CPU s", "cost", "parameters"]
    emit(found, as_json=as_json, human=lambda: table(f"Trials of {study_id}", columns, rows))


@app.command("follow")
def follow_study(study_id: StudyId, as_json: JsonFlag = False) -> None:
    """Follow a study to its end; exit 1 when it fails."""
    client = ApiClient.of()
    job = client.get(f"{_BASE}/{study_id}").get("job_id")
    if job is None:
        raise BadInput(
            f"study {study_id} has no job", field="study_id", remedy="start it with `maestro tune run --submit`"
        )
    follow(client, job, quiet=as_json)
    show(study_id, as_json)
    study = client.get(f"{_BASE}/{study_id}")
    if study["status"] != "completed":
        if as_json:
            raise typer.Exit(NegativeVerdict.exit_code)
        raise NegativeVerdict(f"study {study['name']} {study['status']}", remedy=f"see `maestro train logs {job}`")


@app.command()
def train(
    study_id: StudyId,
    name: Annotated[str | None, typer.Option(help="Name of the job; the study's when not given.")] = None,
    register_as: Annotated[str | None, typer.Option(help="Register the result as a version of this model.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key gives the same job.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train the best parameters of a study on its data."""
    body = {key: value for key, value in {"name": name, "register_as": register_as}.items() if value is not None}
    key = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    job = ApiClient.of().post(f"{_BASE}/{study_id}/train", body, headers=key)
    emit(job, as_json=as_json, human=lambda: out.print(f"queued {job['id']} ({job['name']})", highlight=False))


@app.command()
def cancel(study_id: StudyId, as_json: JsonFlag = False) -> None:
    """Stop a study; its trials stay and it can be resumed under its name."""
    job = ApiClient.of().delete(f"{_BASE}/{study_id}")
    emit(job, as_json=as_json, human=lambda: out.print(f"{study_id}: {job['message']}"))


@app.command()
def report(
    study_id: StudyId,
    html: Annotated[Path, typer.Option("--html", help="The file to write.")],
    as_json: JsonFlag = False,
) -> None:
    """Write history, importance, front and trials as one page that needs no network."""
    page = ApiClient.of().get(f"{_BASE}/{study_id}/report")
    try:
        html.write_text(page)
    except OSError as error:
        raise BadInput(
            f"{html} cannot be written: {error.strerror}", field="--html", remedy="correct the path"
        ) from None
    emit({"written": str(html)}, as_json=as_json, human=lambda: out.print(f"wrote {html}", highlight=False))


def _show(study: dict[str, Any], points: list[dict[str, Any]]) -> None:
    best = study.get("best") or {}
    rows = [
        ("study", study["id"]), ("status", study["status"]), ("trials", study["trials"]),
        ("cost", format_usd(study["cost_usd_micros"], places=6)), ("run", study.get("run_id")), ("ended", study.get("stopped")),
        ("best", f"trial {best['number']} ({best['rule']})" if best else "none yet"),
        *((name, f"{value:.5g}") for name, value in (best.get("values") or {}).items()),
        *((name, value) for name, value in (best.get("params") or {}).items()),
    ]  # fmt: skip
    table(study["name"], ["", ""], rows)
    if study.get("importance"):
        table(
            "Importance",
            ["parameter", "share"],
            [(name, f"{share:.3f}") for name, share in study["importance"].items()],
        )
    risen = [point for at, point in enumerate(points) if at == 0 or point["best"] != points[at - 1]["best"]]
    if risen:
        table("Best so far", ["trial", "value"], [(point["number"], f"{point['best']:.5g}") for point in risen])
