"""`maestro slo`: the SLO file, and the Prometheus rules that are made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maestro.cli.console import JsonFlag, emit, out, table

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="SLOs and the rules compiled from them."
)

SloFile = Annotated[Path | None, typer.Option("--slo-file", help="OpenSLO v1 file; operations/slo.yaml by default.")]
RULES = Path("monitoring/alerts/slo-rules.yaml")


@app.command("list")
def list_slos(slo_file: SloFile = None, as_json: JsonFlag = False) -> None:
    """The SLOs with target, window and the counters they are made of."""
    from maestro.core.settings import settings
    from maestro.operations.slo import load_slos

    slos = load_slos(slo_file or settings().slo_file)
    emit(
        [slo.document() for slo in slos],
        as_json=as_json,
        human=lambda: table(
            "SLOs",
            ("name", "service", "target", "window", "budgeting"),
            [
                (slo.name, slo.spec.service, slo.target, slo.spec.timeWindow[0].duration, slo.spec.budgetingMethod)
                for slo in slos
            ],
        ),
    )


@app.command("compile")
def compile_slos(
    slo_file: SloFile = None,
    out_file: Annotated[Path, typer.Option("--out", help="The rule file to write.")] = RULES,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit status 1 when it is out of date.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write recording rules and burn-rate alerts for Prometheus."""
    from maestro.core.errors import BadInput
    from maestro.core.settings import settings
    from maestro.operations.slo import load_slos
    from maestro.operations.slo_rules import compile_rules, rules_text

    slos = load_slos(slo_file or settings().slo_file)
    text = rules_text(slos)
    current = out_file.is_file() and out_file.read_text(encoding="utf-8") == text
    if not check and not current:
        if not out_file.parent.is_dir():
            raise BadInput(
                f"{out_file.parent} is no folder", field="--out", remedy="name a file in a folder that exists"
            )
        out_file.write_text(text, encoding="utf-8")
    rules = [rule for group in compile_rules(slos)["groups"] for rule in group["rules"]]
    alerts = [rule["alert"] for rule in rules if "alert" in rule]
    found = {"file": str(out_file), "current": current, "slos": len(slos), "rules": len(rules), "alerts": alerts}
    state = "is current" if current else "is out of date: run `maestro slo compile`" if check else "was written"
    emit(
        found,
        as_json=as_json,
        human=lambda: out.print(
            f"{out_file} {state}: {len(slos)} SLOs, {len(rules)} rules, {len(alerts)} alerts", highlight=False
        ),
    )
    if check and not current:
        raise typer.Exit(1)
