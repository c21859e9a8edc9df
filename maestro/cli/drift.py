"""`maestro drift`: compare current data with a reference, keep references, list results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, err, out, progress, script, table
from maestro.core.errors import BadInput, MaestroError

if TYPE_CHECKING:
    from maestro.monitoring.drift import DriftCheck, Reference
    from maestro.monitoring.drift.alerts import Delivery

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Compare current data with a reference."
)
script_app = typer.Typer(rich_markup_mode=None, add_completion=False)

ReferenceData = Annotated[
    Path | None,
    typer.Option("--reference-data", help="Parquet or CSV file, or a profile that `maestro drift profile` wrote."),
]
ReferenceService = Annotated[
    str | None, typer.Option("--reference-service", help="Take the reference from this Feast feature service.")
]
ReferenceEntities = Annotated[
    Path | None,
    typer.Option(
        "--reference-entities", help="Parquet file of entity keys and event timestamps, with --reference-service."
    ),
]
Columns = Annotated[str, typer.Option("--columns", help="Watch only these columns, separated by commas.")]
Categorical = Annotated[str, typer.Option("--categorical", help="Numbers that are codes, separated by commas.")]


@app.command("run")
@script_app.command()
def run(
    current_data: Annotated[Path, typer.Option("--current-data", help="Parquet or CSV file of current data.")],
    reference_data: ReferenceData = None,
    reference_service: ReferenceService = None,
    reference_entities: ReferenceEntities = None,
    drift_threshold: Annotated[float, typer.Option(help="Threshold of a column's corrected p-value.")] = 0.05,
    alert_threshold: Annotated[
        float, typer.Option(help="Share of drifting columns above which the alarm is high.")
    ] = 0.3,
    critical_threshold: Annotated[float, typer.Option(help="Share above which it is critical.")] = 0.5,
    material: Annotated[
        float, typer.Option(help="Smallest effect worth a look: KS distance or total variation.")
    ] = 0.01,
    columns: Columns = "",
    target_column: Annotated[
        str | None, typer.Option(help="Judge this column by itself, outside of the share.")
    ] = None,
    categorical: Categorical = "",
    dataset: Annotated[
        str | None, typer.Option(help="Name of what is watched; the current file's name by default.")
    ] = None,
    model_version: Annotated[
        str, typer.Option(help="Version of the model that the data was given to.")
    ] = "unversioned",
    html: Annotated[
        bool, typer.Option("--html/--no-html", help="Write Evidently's report with the verdict on top.")
    ] = True,
    report: Annotated[
        Path | None, typer.Option(help="Where the report goes; $MAESTRO_HOME/drift/reports by default.")
    ] = None,
    log_mlflow: Annotated[bool, typer.Option("--log-mlflow", help="Log the result and the report to MLflow.")] = False,
    notify: Annotated[str | None, typer.Option(help="Where alerts go; MAESTRO_NOTIFY by default.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare current data with a reference; exit status 1 when a column drifts."""
    from maestro.clients.home import Home, service_url
    from maestro.core.clock import SystemClock
    from maestro.core.settings import settings
    from maestro.monitoring.drift import DriftOptions, check_drift, decide, read_table
    from maestro.monitoring.drift.alerts import send_alerts
    from maestro.monitoring.drift.report import write_report
    from maestro.monitoring.drift.tracking import log_check
    from maestro.observability.notifier import create_notifier

    options = DriftOptions(
        threshold=drift_threshold,
        material=material,
        high=alert_threshold,
        critical=critical_threshold,
        target=target_column,
    ).checked()
    notifier = create_notifier(notify or settings().notify)
    mlflow = service_url("mlflow") if log_mlflow else None
    watched, clock, home = _dataset(dataset, current_data), SystemClock(), Home.of()
    with progress("reading") as bar:
        reference = _reference(
            reference_data,
            reference_service,
            reference_entities,
            _with_target(_split(columns), target_column),
            _split(categorical),
        )
        current = read_table(current_data, "--current-data")
        bar.update(0.2, "judging")
        check = check_drift(reference, current, watched, options)
        decision = decide(check, reference.profile, current, home.root / "drift", version=model_version)
        deliveries = send_alerts(check, notifier)
        page = None
        if html or report is not None:
            bar.update(0.4, "drawing the report")
            stamp = clock.now().strftime("%Y%m%dT%H%M%S%f")[:-3]
            page = report or home.root / "drift" / "reports" / f"{watched}-{stamp}.html"
            write_report(check, reference, current, page)
        run_id = None
        if mlflow is not None:
            bar.update(0.8, "logging to MLflow")
            run_id = log_check(check, mlflow, page)
        bar.update(0.9, "recording")
        kept, why_not = _record(check, decision, page, run_id)
    result: dict[str, Any] = check.document() | {
        "drift": check.drift,
        "alerts": [each.document() for each in deliveries],
        "html": page,
        "mlflow_run_id": run_id,
        "report_id": kept.get("id"),
        "decision": kept.get("decision"),
        "not_recorded": why_not,
    }
    emit(result, as_json=as_json, human=lambda: _show(check, deliveries, result))
    if check.drift:
        raise typer.Exit(1)


@app.command()
def profile(
    destination: Annotated[Path, typer.Option("--out", help="The profile's file, ending in .json.")],
    reference_data: ReferenceData = None,
    reference_service: ReferenceService = None,
    reference_entities: ReferenceEntities = None,
    columns: Columns = "",
    categorical: Categorical = "",
    as_json: JsonFlag = False,
) -> None:
    """Write a reference as a profile, so that the data need not be read again."""
    from maestro.monitoring.drift import save_reference

    reference = _reference(reference_data, reference_service, reference_entities, _split(columns), _split(categorical))
    stored = save_reference(reference, destination)
    facts = {
        "profile": destination,
        "rows": stored.rows,
        "columns": list(stored.types.kinds),
        "skipped": stored.types.skipped,
    }
    emit(
        facts,
        as_json=as_json,
        human=lambda: out.print(f"{destination}: {len(stored.types.kinds)} columns of {stored.rows} rows"),
    )


@app.command("list")
def list_reports(
    dataset: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    page: Annotated[int, typer.Option(min=1)] = 1,
    page_size: Annotated[int, typer.Option(min=1, max=200)] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List recorded checks, newest first."""
    from maestro.lifecycle.composition import Platform
    from maestro.monitoring.drift.store import DriftStore

    items, total = DriftStore(Platform().database).list(dataset=dataset, page=page, page_size=page_size)
    rows = [
        (each.at.strftime("%Y-%m-%d %H:%M:%S"), each.dataset, each.verdict, f"{each.share:.2f}", each.alarm, each.id)
        for each in items
    ]
    emit(
        {"items": [each.document() for each in items], "page": page, "page_size": page_size, "total": total},
        as_json=as_json,
        human=lambda: table(f"{total} drift reports", ("at", "dataset", "verdict", "share", "alarm", "id"), rows),
    )


def _reference(
    data: Path | None, service: str | None, entities: Path | None, columns: list[str], categorical: list[str]
) -> Reference:
    from maestro.clients.home import Home
    from maestro.monitoring.drift import load_reference, read_table, reference_from_features

    if (data is None) == (service is None):
        raise BadInput(
            "give one reference: --reference-data or --reference-service", field="--reference-data",
            remedy="name a Parquet file, a profile, or a feature service",
        )  # fmt: skip
    if data is not None:
        return load_reference(data, "--reference-data", columns=columns, categorical=categorical)
    assert service is not None  # noqa: S101 - one of the two is given
    if entities is None:
        raise BadInput(
            "--reference-service needs the entities of the training rows", field="--reference-entities",
            remedy="give a Parquet file of entity keys and event timestamps",
        )  # fmt: skip
    from maestro.clients.feast import FeatureRepository

    frame = read_table(entities, "--reference-entities")
    return reference_from_features(
        FeatureRepository(Home.of().features), service, frame, columns=columns, categorical=categorical
    )


def _record(check: Any, decision: Any, page: Path | None, run_id: str | None) -> tuple[dict[str, Any], str | None]:
    """Keep the result where a platform is set up on this machine; without one say why not."""
    from maestro.clients.home import Home, database_url

    if database_url().startswith("sqlite:///") and not Home.of().database.exists():
        return {}, "no platform is set up here; run `make up` to keep results"
    from maestro.lifecycle.composition import Platform
    from maestro.operations.drift_record import record_check

    platform = Platform()
    try:
        platform.require_database()
        kept = record_check(
            platform.database, platform.governance.decisions, platform.clock, check, decision, html=page, run_id=run_id
        )
        return {"id": kept.id, "decision": kept.decision}, None
    except MaestroError as error:
        # The verdict stands whether or not the platform can keep it.
        err.print(f"not recorded: {error.detail}", highlight=False, markup=False, soft_wrap=True)
        return {}, error.detail
    finally:
        platform.close()


def _show(check: DriftCheck, deliveries: tuple[Delivery, ...], result: dict[str, Any]) -> None:
    columns = [*check.verdict.columns, *(check.target.columns if check.target else ())]
    table(
        f"{check.dataset}: {check.rows_current} rows against {check.rows_reference} of {check.reference}",
        ("column", "test", "effect", "at least", "corrected p", "PSI", "verdict"),
        [
            (
                each.column, each.test, f"{each.effect:.4f}", f"{each.effect_lower:.4f}", f"{each.p_adjusted:.3g}", f"{each.psi:.4f}",
                "drift" if each.drift else "-",
            )
            for each in columns
        ],
    )  # fmt: skip
    for issue in check.quality.issues:
        out.print(
            f"quality: {issue.column}: {issue.check.replace('_', ' ')} {issue.reference_share:.2%} → {issue.current_share:.2%}",
            markup=False,
        )
    verdict = check.verdict
    word = "DRIFT" if check.drift else "no drift"
    out.print(
        f"{word}: {len(verdict.drifted)} of {len(verdict.columns)} columns, share {verdict.share:.2f}, alarm {verdict.alarm}"
    )
    for each in deliveries:
        out.print(
            f"alert [{each.alert.severity}] {each.alert.title}{'' if each.delivered else ' (not delivered)'}",
            markup=False,
        )
    for name in ("html", "mlflow_run_id", "decision", "not_recorded"):
        if result[name]:
            out.print(f"{name.replace('_', ' ')}: {result[name]}", markup=False, soft_wrap=True)


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _with_target(columns: list[str], target: str | None) -> list[str]:
    return [*columns, target] if columns and target and target not in columns else columns


def _dataset(name: str | None, current: Path) -> str:
    if name is None:
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", current.stem).strip("-_.")[:128] or "data"
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9])?", name) is None:
        raise BadInput(
            f"--dataset: {name!r} is no name", field="--dataset", remedy="use letters, digits, `_`, `.` and `-`"
        )
    return name


main = script(script_app, "data-drift-monitor")
"""The script `monitoring/drift/data-drift-monitor.py`."""
