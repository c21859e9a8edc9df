"""`maestro approval`: submit a version, see its evidence, approve or refuse it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, out, script, table
from maestro.clients.api import ApiClient
from maestro.core.errors import NegativeVerdict
from maestro.governance.policies import read_policy

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Approvals.")

ApprovalId = Annotated[str, typer.Argument(help="The request's id.")]
Comment = Annotated[str, typer.Option(help="Why.")]


@app.command()
def submit(
    model: Annotated[str, typer.Option("--model-name", "--model", help="The registered model.")],
    version: Annotated[str, typer.Option("--model-version", "--version", help="Semantic version or registry number.")],
    policy: Annotated[str, typer.Option(help="Policy by name (default, demo) or file.")] = "default",
    as_json: JsonFlag = False,
) -> None:
    """Run the automated gates and ask for approval; exit 1 when a gate does not pass."""
    body = {"model": model, "version": version, "policy": read_policy(policy).document()}
    found = ApiClient.of().post("/approvals", body)
    emit(found, as_json=as_json, human=lambda: _show(found))
    if found["status"] == "gates_failed":
        raise typer.Exit(NegativeVerdict.exit_code)


@app.command("list")
def list_approvals(
    model: Annotated[str | None, typer.Option("--model-name", "--model")] = None,
    status: Annotated[
        str | None, typer.Option(help="pending, approved, refused, gates_failed, expired or void.")
    ] = None,
    page: Annotated[int, typer.Option(min=1)] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List requests, newest first."""
    found = ApiClient.of().get("/approvals", model=model, status=status, page=page, page_size=page_size)
    rows = [
        (item["id"], f"{item['model']}@{item['version']}", item["status"], item["requested_by"], item.get("decided_by"))
        for item in found["items"]
    ]
    columns = ("id", "version", "status", "requested by", "answered by")
    emit(found, as_json=as_json, human=lambda: table(f"approvals ({found['total']})", columns, rows))


@app.command()
def show(approval_id: ApprovalId, as_json: JsonFlag = False) -> None:
    """Show a request with its evidence."""
    found = ApiClient.of().get(f"/approvals/{approval_id}")
    emit(found, as_json=as_json, human=lambda: _show(found))


@app.command()
def approve(approval_id: ApprovalId, comment: Comment = "", as_json: JsonFlag = False) -> None:
    """Say yes, as a person who had no part in the version."""
    found = ApiClient.of().post(f"/approvals/{approval_id}/approve", {"comment": comment})
    emit(found, as_json=as_json, human=lambda: _show(found))


@app.command()
def refuse(approval_id: ApprovalId, comment: Comment = "", as_json: JsonFlag = False) -> None:
    """Say no."""
    found = ApiClient.of().post(f"/approvals/{approval_id}/refuse", {"comment": comment})
    emit(found, as_json=as_json, human=lambda: _show(found))


def _show(found: dict[str, Any]) -> None:
    out.print(f"{found['id']}: {found['model']}@{found['version']} is {found['status']}", highlight=False)
    rows = [(gate["gate"], "pass" if gate["passed"] else "FAIL", gate["reason"]) for gate in found["evidence"]["gates"]]
    table("automated gates", ("gate", "", "reason"), rows)
    bound = [(name, found[f"{name}_digest"]) for name in ("version", "contract", "policy", "evidence")]
    table("bound to", ("", "digest"), bound)
    out.print(f"requested by {found['requested_by']}, counts until {found['expires_at']}", highlight=False)
    if found.get("decided_by"):
        out.print(
            f"{found['verdict']} by {found['decided_by']} at {found['decided_at']}: {found.get('comment') or ''}",
            highlight=False,
        )


main = script(app, "approval-workflow.py")
