"""`maestro jobs`: the queue as a whole, through the API: what is active, tenants, resources that fit, clean-up."""

from __future__ import annotations

import typer

from maestro.cli.console import JsonFlag, emit, out, table
from maestro.clients.api import ApiClient
from maestro.core.money import format_usd

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="The queue as a whole: active jobs, tenants, resources that fit, clean-up.",
)

_BASE = "/ai/training"


@app.command()
def active(as_json: JsonFlag = False) -> None:
    """List running and queued jobs, oldest first."""
    found = ApiClient.of().get(f"{_BASE}/active", page_size=200)
    rows = [
        (job["id"], job["name"], job["tenant_id"], job["status"], job["priority"], f"{job['progress']:.0%}")
        for job in found["items"]
    ]
    emit(
        found, as_json=as_json,
        human=lambda: table(f"Active ({found['total']})", ["job", "name", "tenant", "status", "priority", "done"], rows),
    )  # fmt: skip


@app.command()
def tenants(as_json: JsonFlag = False) -> None:
    """List the tenants with their jobs, cost and limit."""
    found = ApiClient.of().get(f"{_BASE}/tenants", page_size=200)
    rows = [
        (
            item["tenant_id"], item["jobs"], item["by_status"]["running"], item["running_limit"], item["by_status"]["queued"],
            format_usd(item["cost_usd_micros"], places=6),
        )
        for item in found["items"]
    ]  # fmt: skip
    emit(
        found, as_json=as_json,
        human=lambda: table(f"Tenants ({found['total']})", ["tenant", "jobs", "running", "limit", "queued", "cost"], rows),
    )  # fmt: skip


@app.command()
def advice(as_json: JsonFlag = False) -> None:
    """What jobs should ask for, from what those like them used."""
    found = ApiClient.of().get(f"{_BASE}/advice", page_size=200)
    rows = [
        (
            item["name"], item["tenant_id"], f"{item['cores']:g}", f"{item['memory_gib']:g}", format_usd(item["saved_usd_micros"], places=6),
            item["reason"],
        )
        for item in found["items"]
    ]  # fmt: skip
    emit(
        found, as_json=as_json,
        human=lambda: table("Resources that fit", ["job", "tenant", "cores", "GiB", "saves", "why"], rows),
    )  # fmt: skip


@app.command()
def clean(as_json: JsonFlag = False) -> None:
    """Remove completed jobs after 90 days, failed and cancelled after 30, log lines after 7; needs an operator's key."""
    found = ApiClient.of().post(f"{_BASE}/clean")
    words = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found.items())
    emit(found, as_json=as_json, human=lambda: out.print(f"removed {words}", highlight=False))
