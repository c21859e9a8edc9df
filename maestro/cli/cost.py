"""`maestro cost`: what runs, versions and predictions cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, err, out, progress, table

if TYPE_CHECKING:
    from maestro.core.clock import Clock
    from maestro.operations.cost import ServingUse

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Cost of runs, versions and predictions."
)


@app.command()
def report(
    tenant: Annotated[str | None, typer.Option(help="Of this tenant only.")] = None,
    server_cores: Annotated[
        float, typer.Option(min=0.01, max=1024, help="Cores that the model server is allocated.")
    ] = 1.0,
    server_url: Annotated[
        str | None, typer.Option("--server-url", help="Model server; the running one by default.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """The bill by kind, run, version and tenant, with its idle share, and the cost of a million predictions over load."""
    from maestro.core.rates import load_rates
    from maestro.lifecycle.composition import Platform
    from maestro.operations.cost import cost_report

    platform = Platform()
    platform.require_database()
    with progress("adding up"):
        serving = _serving(platform.clock, server_cores, server_url)
        found = cost_report(platform.database, load_rates(), platform.clock, serving, tenant_id=tenant)
    platform.close()
    emit(found, as_json=as_json, human=lambda: _show(found))


@app.command()
def rates(as_json: JsonFlag = False) -> None:
    """The rate card."""
    from maestro.core.rates import load_rates

    card = load_rates()
    rows = [(name, value) for name, value in card.document().items()]
    emit(card, as_json=as_json, human=lambda: table("Rate card (per hour of allocation)", ("what", "rate"), rows))


def _serving(clock: Clock, cores: float, url: str | None) -> ServingUse | None:
    from maestro.clients.exposition import scrape
    from maestro.clients.home import Home, service_url
    from maestro.core.errors import Unreachable
    from maestro.operations.cost import measure_server

    try:
        address = service_url("server", url)
        state = Home.of().read_state()
        service = state.services.get("server") if state is not None else None
        own = service is not None and service.url is not None and service.url.rstrip("/") == address
        return measure_server(
            "model-server", scrape(address), clock, cores=cores, pid=service.pid if own and service else None
        )
    except Unreachable as error:
        # The bill stands without the curve; what was recorded of serving is in it.
        err.print(f"serving is not measured: {error.detail}", highlight=False, markup=False, soft_wrap=True)
        return None


def _show(found: dict[str, Any]) -> None:
    from maestro.core.money import format_usd

    def rows(group: str) -> list[tuple[Any, ...]]:
        return [
            (
                each["name"], each["attempts"], f"{each['wall_s']:.1f}", f"{each['cpu_s']:.1f}", format_usd(each["bill_usd_micros"], places=6),
                format_usd(each["used_usd_micros"], places=6), format_usd(each["idle_usd_micros"], places=6),
            )
            for each in found[group]
        ]  # fmt: skip

    columns = ("what", "attempts", "wall s", "CPU s", "bill", "used", "idle")
    for title, group in (("Cost by kind", "by_kind"), ("By run", "by_subject"), ("By tenant", "by_tenant")):
        table(title, columns, rows(group))
    if found["by_study"]:
        table(
            "By study (its trials, and what no trial used)",
            ("study", "trials", "bill", "of trials", "rest"),
            [
                (
                    each["name"], len(each["trials"]), format_usd(each["bill_usd_micros"], places=6),
                    format_usd(each["trials_usd_micros"], places=6), format_usd(each["rest_usd_micros"], places=6),
                )
                for each in found["by_study"]
            ],
        )  # fmt: skip
    if found["by_version"]:
        table(
            "By version (training, tuning, rollout)",
            ("model", "version", "cost"),
            [
                (each["model"], each["version"], format_usd(each["cost_usd_micros"], places=6))
                for each in found["by_version"]
            ],
        )
    predictions = found["predictions"]
    if predictions is not None:
        measured = predictions["measured"]
        points = [("measured", measured, "")] + [("curve", point, point["replicas"]) for point in predictions["curve"]]
        table(
            "Cost of a million predictions over load",
            ("", "load /s", "replicas", "cost of 1M", "idle share"),
            [
                (
                    name, f"{point['load_per_s']:.2f}", replicas,
                    "-" if point["usd_micros_per_million"] is None else format_usd(point["usd_micros_per_million"]),
                    f"{point['idle_share']:.1%}",
                )
                for name, point, replicas in points
            ],
        )  # fmt: skip
    out.print(
        f"bill {format_usd(found['bill_usd_micros'], places=6)} = used {format_usd(found['used_usd_micros'], places=6)} + "
        f"idle {format_usd(found['idle_usd_micros'], places=6)} ({found['idle_share']:.1%})",
        highlight=False,
    )
