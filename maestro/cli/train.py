"""`maestro train`: training jobs through the API."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from maestro.cli.console import JsonFlag, emit, out, read_yaml, table
from maestro.cli.following import end_with, follow, why
from maestro.cli.retrain import retrain
from maestro.clients.api import ApiClient
from maestro.core.errors import BadInput, NegativeVerdict, from_validation
from maestro.core.jobs import JobRequest, JobStatus, Priority
from maestro.core.money import format_usd

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Submit, list, follow, cancel and retry training jobs; retrain a model in full.",
)
app.command()(retrain)

JobId = Annotated[str, typer.Argument(help="The job's id.")]
WaitFlag = Annotated[bool, typer.Option("--wait", help="Follow the job to its end; exit 1 when it fails.")]
FileOption = Annotated[
    Path | None, typer.Option("--file", "-f", help="Job request as YAML or JSON; options override it.")
]
CpuOption = Annotated[float | None, typer.Option(min=0.01, help="Cores of each worker.")]
MemoryOption = Annotated[str | None, typer.Option(help="Memory of each worker, such as 2Gi.")]
GpuOption = Annotated[int | None, typer.Option(min=0, help="GPUs of each worker.")]
_BASE = "/ai/training"


@app.command()
def submit(
    file: FileOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the job and of its MLflow experiment.")] = None,
    features: Annotated[str | None, typer.Option(help="Feature service, such as visits_v1.")] = None,
    model_type: Annotated[str | None, typer.Option(help="Kind of model: classifier (default) or regressor.")] = None,
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="name=value; may be repeated.")] = None,
    register_as: Annotated[str | None, typer.Option(help="Register the result as a version of this model.")] = None,
    priority: Annotated[Priority | None, typer.Option(help="urgent, high, normal or low.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Tenant of the job.")] = None,
    date_from: Annotated[str | None, typer.Option("--from", help="First event date, YYYY-MM-DD.")] = None,
    date_to: Annotated[str | None, typer.Option("--to", help="Last event date, YYYY-MM-DD.")] = None,
    timeout_s: Annotated[int | None, typer.Option(help="Stop the job after so many seconds.")] = None,
    max_retries: Annotated[int | None, typer.Option(help="Attempts after the first.")] = None,
    cpu: CpuOption = None,
    memory: MemoryOption = None,
    gpu: GpuOption = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key and request give the same job; random when not given.")
    ] = None,
    wait: WaitFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Submit a job."""
    given = {
        "name": name, "model_type": model_type, "register_as": register_as, "priority": priority, "tenant_id": tenant,
        "timeout_s": timeout_s, "max_retries": max_retries,
    }  # fmt: skip
    data = {"feature_service": features, "from": date_from, "to": date_to}
    request = _request(file, given, data, param or [], {"cpu": cpu, "memory": memory, "gpu": gpu})
    client = ApiClient.of()
    key = idempotency_key or str(uuid.uuid4())
    job = client.post(f"{_BASE}/jobs/start", request.document(), headers={"Idempotency-Key": key})
    if wait:
        job = follow(client, job["id"], quiet=as_json)
    emit(job, as_json=as_json, human=lambda: _show(job))
    if wait:
        end_with(job, as_json)


@app.command()
def plan(
    file: FileOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the job.")] = None,
    features: Annotated[str | None, typer.Option(help="Feature service, such as visits_v1.")] = None,
    model_type: Annotated[str | None, typer.Option(help="Kind of model.")] = None,
    priority: Annotated[Priority | None, typer.Option(help="urgent, high, normal or low.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Tenant of the job.")] = None,
    cpu: CpuOption = None,
    memory: MemoryOption = None,
    gpu: GpuOption = None,
    timeout_s: Annotated[int | None, typer.Option(help="Stop the job after so many seconds.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say whether a job would fit, wait or never fit, which limit binds, and its price; nothing is submitted. Exit 1 when it never fits."""
    request = _request(
        file,
        {"name": name, "model_type": model_type, "priority": priority, "tenant_id": tenant, "timeout_s": timeout_s},
        {"feature_service": features}, [], {"cpu": cpu, "memory": memory, "gpu": gpu},
    )  # fmt: skip
    found = ApiClient.of().post(f"{_BASE}/jobs/plan", request.document())

    def show_plan() -> None:
        wait = (
            ""
            if found.get("wait_s") is None
            else f"{found['wait_s']:g} s ({found['wait_lower_s']:g} to {found['wait_upper_s']:g})"
        )
        estimate = found["estimate"]
        rows = [
            ("verdict", f"{found['verdict']}: {found['reason']}"), ("limit", found.get("limit")), ("position", found["position"]), ("waits", wait),
            ("takes", f"{estimate['seconds']:g} s ({estimate['lower']:g} to {estimate['upper']:g}; {estimate['basis']})"),
            ("price", f"{format_usd(found['price_usd_micros'], places=6)}, at worst {format_usd(found['price_worst_usd_micros'], places=6)}"),
        ]  # fmt: skip
        table(request.name, ["", ""], rows)

    emit(found, as_json=as_json, human=show_plan)
    if found["verdict"] == "never":
        if as_json:
            raise typer.Exit(NegativeVerdict.exit_code)
        raise NegativeVerdict(found["reason"], remedy="ask for less, or have the limit raised")


@app.command("list")
def list_jobs(
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs in this state.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    model_type: Annotated[str | None, typer.Option(help="Only this kind of model.")] = None,
    priority: Annotated[Priority | None, typer.Option(help="Only this priority.")] = None,
    page: Annotated[int, typer.Option(min=1)] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, newest first."""
    found = ApiClient.of().get(
        f"{_BASE}/jobs",
        status=status,
        tenant_id=tenant,
        model_type=model_type,
        priority=priority,
        page=page,
        page_size=page_size,
    )

    def show() -> None:
        rows = [
            (
                job["id"],
                job["name"],
                job["status"],
                job["priority"],
                f"{job['progress']:.0%}",
                _took(job),
                job.get("message"),
            )
            for job in found["items"]
        ]
        table(f"Jobs ({found['total']})", ["job", "name", "status", "priority", "done", "took", "message"], rows)

    emit(found, as_json=as_json, human=show)


@app.command()
def show(job_id: JobId, as_json: JsonFlag = False) -> None:
    """Show one job."""
    job = ApiClient.of().get(f"{_BASE}/jobs/{job_id}")
    emit(job, as_json=as_json, human=lambda: _show(job))


@app.command("follow")
def follow_job(job_id: JobId, as_json: JsonFlag = False) -> None:
    """Follow a job to its end; exit 1 when it fails."""
    job = follow(ApiClient.of(), job_id, quiet=as_json)
    emit(job, as_json=as_json, human=lambda: _show(job))
    end_with(job, as_json)


@app.command()
def cancel(job_id: JobId, as_json: JsonFlag = False) -> None:
    """Cancel a job: its work is stopped."""
    job = ApiClient.of().delete(f"{_BASE}/jobs/{job_id}")
    emit(job, as_json=as_json, human=lambda: out.print(f"{job_id}: {job['message']}"))


@app.command()
def retry(job_id: JobId, wait: WaitFlag = False, as_json: JsonFlag = False) -> None:
    """Submit a failed or cancelled job again, with its configuration."""
    client = ApiClient.of()
    job = client.post(f"{_BASE}/jobs/{job_id}/retry")
    if wait:
        job = follow(client, job["id"], quiet=as_json)
    emit(job, as_json=as_json, human=lambda: _show(job))
    if wait:
        end_with(job, as_json)


@app.command()
def logs(
    job_id: JobId,
    level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    after: Annotated[int, typer.Option(min=0, help="Only lines after this number.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Print a job's log."""
    lines = list(_lines(ApiClient.of(), job_id, level, after))

    def print_lines() -> None:
        for line in lines:
            out.print(
                f"{line['at']} {line['level']:<7} {line['message']}", highlight=False, markup=False, soft_wrap=True
            )

    emit(lines, as_json=as_json, human=print_lines)


@app.command()
def stats(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None, as_json: JsonFlag = False
) -> None:
    """How the jobs stand."""
    found = ApiClient.of().get(f"{_BASE}/stats", tenant_id=tenant)

    def show_stats() -> None:
        rows = [(name, count) for name, count in found["by_status"].items()]
        table(f"Jobs ({found['total']}), cost {format_usd(found['cost_usd_micros'])}", ["status", "jobs"], rows)

    emit(found, as_json=as_json, human=show_stats)


def _request(
    file: Path | None, given: dict[str, Any], data: dict[str, Any], params: list[str], resources: dict[str, Any]
) -> JobRequest:
    """The request of a file and of the options over it."""
    document = _document(file) | _given(given)
    document["data"] = dict(document.get("data") or {}) | _given(data)
    document["params"] = dict(document.get("params") or {}) | params_of(params)
    if _given(resources):
        document["resources"] = dict(document.get("resources") or {}) | _given(resources)
    document.setdefault("model_type", "classifier")
    document.setdefault("name", document["data"].get("feature_service", "job"))
    try:
        return JobRequest.model_validate(document)
    except ValidationError as error:
        raise from_validation(error, str(file) if file else "job request") from None


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _document(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    document = read_yaml(file, "job request")
    if not isinstance(document, dict):
        raise BadInput(f"{file} holds no job request", field=str(file), remedy="write one mapping of fields")
    return document


def params_of(texts: list[str]) -> dict[str, Any]:
    """Parameters given as `name=value`, each value JSON where it can be read so.

    Raises:
        BadInput: a text has no name or no value.
    """
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise BadInput(f"--param {text!r} cannot be read", field="--param", remedy="write name=value")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = value
    return found


def _lines(client: ApiClient, job_id: str, level: str | None, after: int) -> Iterator[dict[str, Any]]:
    while True:
        page = client.get(f"{_BASE}/jobs/{job_id}/logs", level=level, after=after, limit=1000)
        yield from page["items"]
        if len(page["items"]) < 1000:
            return
        after = page["next"]


def _show(job: dict[str, Any]) -> None:
    result = job.get("result") or {}
    rows = [
        ("job", job["id"]), ("status", f"{job['status']}: {job.get('message') or ''}"), ("attempt", job["attempt"]),
        ("took", _took(job)), ("cost", format_usd(job["cost_usd_micros"], places=6)), ("run", job.get("run_id")), ("model", job.get("model_uri")),
    ]  # fmt: skip
    if job.get("queue"):
        rows.append(("queue", f"place {job['queue']['position']}: {job['queue']['reason']}"))
    if job.get("estimate"):
        rows.append(("estimate", f"{job['estimate']['seconds']:g} s ({job['estimate']['basis']})"))
    rows += [(name, f"{value:.4g}") for name, value in sorted((result.get("metrics") or {}).items())]
    if job.get("error"):
        rows.append(("error", why(job)))
    table(job["name"], ["", ""], rows)


def _took(job: dict[str, Any]) -> str:
    return f"{job['duration_s']:.1f} s" if job.get("duration_s") is not None else ""
