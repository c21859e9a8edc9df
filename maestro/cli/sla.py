"""`maestro sla`: report on the SLOs, record the metrics they are judged by."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, out, progress, script, table

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="SLA report from recorded metrics."
)
script_app = typer.Typer(rich_markup_mode=None, add_completion=False)

SloFile = Annotated[Path | None, typer.Option("--slo-file", help="OpenSLO v1 file; operations/slo.yaml by default.")]
Source = Annotated[
    str | None, typer.Option("--server-url", help="Model server to look at; the running one by default.")
]


@app.command()
@script_app.command()
def report(
    window: Annotated[
        str | None, typer.Option(help="Rolling window such as 1h, 7d, 30d; each SLO's own by default.")
    ] = None,
    slo_file: SloFile = None,
    server_url: Source = None,
    look: Annotated[bool, typer.Option("--look/--no-look", help="Look at the running server first.")] = True,
    decide: Annotated[bool, typer.Option("--decide", help="Append the verdict to the decisions.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Availability, p95, p99, error rate and error budget; exit status 1 when not compliant."""
    from maestro.operations.sla_monitor import SLAMonitor
    from maestro.operations.slo import duration_seconds

    length = timedelta(seconds=duration_seconds(window)) if window else None
    with progress("reading"):
        found = SLAMonitor(slo_file=slo_file, source=server_url).generate_report(length, look=look)
        found["decision"] = _decide(found) if decide else None
    emit(found, as_json=as_json, human=lambda: _show(found))
    if not found["compliant"]:
        raise typer.Exit(1)


@app.command()
def record(
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")] = 10.0,
    looks: Annotated[int, typer.Option(min=0, help="End after so many; 0 goes on until interrupted.")] = 1,
    slo_file: SloFile = None,
    server_url: Source = None,
    as_json: JsonFlag = False,
) -> None:
    """Look at the model server's counters and add them to the hourly roll-ups."""
    from maestro.clients.home import service_url
    from maestro.operations.sla_monitor import SLAMonitor

    monitor = SLAMonitor(slo_file=slo_file, source=server_url)
    source = service_url("server", server_url)
    answered = done = 0
    assert monitor.recorder is not None  # noqa: S101 - there is an address, so there is a recorder
    while True:
        answered += monitor.recorder.scrape()
        done += 1
        if done == looks:
            break
        monitor.clock.sleep(interval)
    emit(
        {"source": source, "looks": done, "answered": answered},
        as_json=as_json,
        human=lambda: out.print(f"{source}: {answered} of {done} looks were answered", highlight=False),
    )


def _decide(found: dict[str, Any]) -> str:
    from maestro.lifecycle.composition import Platform
    from maestro.operations.sla_monitor import slo_decision

    platform = Platform()
    with platform.database.begin() as connection:
        decision = platform.governance.decisions.record(connection, actor="system:sla-monitor", **slo_decision(found))
    return decision.id


def _show(found: dict[str, Any]) -> None:
    def percent(value: float | None) -> str:
        return "unknown" if value is None else f"{value:.4%}"

    def latency(bounds: dict[str, float | None] | None) -> str:
        if bounds is None:
            return "unknown"
        low = (bounds["lower_s"] or 0.0) * 1000
        return f"above {low:g} ms" if bounds["upper_s"] is None else f"{low:g} to {bounds['upper_s'] * 1000:g} ms"

    table(
        f"SLA report, {found['window']['from']} to {found['window']['to']}",
        ("objective", "target", "recorded", "budget left", "verdict", "why"),
        [
            (
                each["name"], percent(each["objective"]), percent(each.get("availability")), percent(each.get("budget_left")),
                each["verdict"], each["reason"],
            )
            for each in found["objectives"]
        ],
    )  # fmt: skip
    out.print(
        f"availability {percent(found['availability'])}, p95 {latency(found['p95'])}, p99 {latency(found['p99'])}, "
        f"error rate {percent(found['error_rate'])}, {found['requests']} responses, {found['gap_seconds']} s unknown",
        highlight=False,
    )
    if found["models"]:
        table(
            "Models (first attempts of each arm)",
            ("model", "version", "arm", "requests", "error rate", "p95", "p99"),
            [
                (
                    each["model"], each["version"], each["arm"], each["requests"], percent(each["error_rate"]),
                    latency(each["p95"]), latency(each["p99"]),
                )
                for each in found["models"]
            ],
        )  # fmt: skip
    out.print(f"[bold]{'compliant' if found['compliant'] else 'NOT COMPLIANT: ' + found['verdict']}[/]")
    if found["decision"]:
        out.print(f"decision: {found['decision']}", highlight=False)


main = script(script_app, "sla-monitor")
"""The script `operations/sla-monitor.py`."""
