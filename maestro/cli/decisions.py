"""`maestro decisions`: list, show and replay the log of decisions."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, out, progress, table
from maestro.clients.api import ApiClient
from maestro.core.errors import BadInput, NegativeVerdict
from maestro.core.money import format_usd

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Decisions.")


@app.command("list")
def list_decisions(
    model: Annotated[str | None, typer.Option("--model", help="Only of this model.")] = None,
    version: Annotated[str | None, typer.Option(help="Only of this version.")] = None,
    rollout: Annotated[str | None, typer.Option(help="Only of this rollout.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="gate, approval, rollout.step, rollout.readiness, human, ...")
    ] = None,
    page: Annotated[int, typer.Option(min=1)] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List decisions, newest first."""
    found = ApiClient.of().get(
        "/decisions", model=model, version=version, rollout=rollout, kind=kind, page=page, page_size=page_size
    )
    rows = [
        (
            item["id"][7:19], item["at"], item["kind"], f"{item['subject']['model']}@{item['subject']['version']}", item["verdict"],
            item["actor"], format_usd(item["cost_usd_micros"]),
        )
        for item in found["items"]
    ]  # fmt: skip
    columns = ("id", "at", "kind", "version", "verdict", "actor", "cost so far")
    emit(found, as_json=as_json, human=lambda: table(f"decisions ({found['total']})", columns, rows))


@app.command()
def show(
    decision_id: Annotated[str, typer.Argument(help="Id or its first digits.")], as_json: JsonFlag = False
) -> None:
    """Show one record, whole."""
    emit(ApiClient.of().get(f"/decisions/{decision_id}"), as_json=True)


@app.command()
def replay(
    decision_ids: Annotated[list[str] | None, typer.Argument(help="Ids or their first digits.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole chain, with its links.")] = False,
    rollout: Annotated[str | None, typer.Option(help="Every decision of this rollout.")] = None,
    as_json: JsonFlag = False,
) -> int:
    """Compute decisions again from their records; exit 1 when one does not come out as it stands."""
    if sum((bool(decision_ids), everything, rollout is not None)) != 1:
        raise BadInput("give decision ids, --rollout or --all", field="decision_ids", remedy="choose one of them")
    with progress("replaying decisions"):
        found = ApiClient.of().post("/decisions/replay", {"ids": decision_ids or [], "rollout": rollout})
    emit(found, as_json=as_json, human=lambda: _print(found))
    return 0 if found["ok"] else NegativeVerdict.exit_code


def _print(found: dict[str, Any]) -> None:
    wrong = [report for report in found["reports"] if not report["ok"]]
    by_kind: dict[tuple[str, str], int] = {}
    for report in found["reports"]:
        key = (report["kind"], report["recorded"])
        by_kind[key] = by_kind.get(key, 0) + 1
    table("replayed", ("kind", "verdict", "count"), [(*key, count) for key, count in sorted(by_kind.items())])
    for report in wrong:
        out.print(f"{report['id'][7:19]} {report['kind']}: {report['reason']}", highlight=False, markup=False)
    out.print(f"{found['count'] - len(wrong)} of {found['count']} decisions come out as recorded", highlight=False)
