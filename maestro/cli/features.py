"""`maestro features`: write the data sets, define their features, bring them online, read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, out, progress, table
from maestro.clients.home import Home
from maestro.core.errors import BadInput

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Apply, materialise and read features."
)


@app.command()
def apply(
    dataset: Annotated[
        list[str] | None, typer.Option(help="Data set to write; all when not given; may be repeated.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the data sets as versioned Parquet and define entities, views and services."""
    from maestro.clients.feast import FeatureRepository
    from maestro.training import feature_definitions

    home = Home.of()
    with progress("applying features") as bar:
        repository = FeatureRepository(home.features)
        sets = feature_definitions.apply(repository, home.data, dataset, bar)
        services = repository.services()
    result = {"datasets": [item.document() for item in sets.values()], "services": services}

    def show() -> None:
        rows = [(item.name, item.version, item.rows, _counts(item.splits), item.source) for item in sets.values()]
        table("Data sets", ["name", "version", "rows", "splits", "source"], rows)
        out.print(f"feature services: {', '.join(services)}")

    emit(result, as_json=as_json, human=show)


@app.command()
def materialize(
    start: Annotated[str | None, typer.Option("--from", help="First event date, YYYY-MM-DD.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last event date, YYYY-MM-DD.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Bring the newest values to the online store."""
    from maestro.clients.feast import FeatureRepository
    from maestro.training.feature_definitions import FIRST_EVENT, LAST_EVENT

    first, last = _date(start, "--from") or FIRST_EVENT, _date(end, "--to") or LAST_EVENT
    with progress("materialising features"):
        FeatureRepository(Home.of().features).materialize(first, last)
    result = {"from": first.isoformat(), "to": last.isoformat()}
    emit(
        result,
        as_json=as_json,
        human=lambda: out.print(f"online store holds the values from {first:%Y-%m-%d} to {last:%Y-%m-%d}"),
    )


@app.command()
def get(
    service: Annotated[str, typer.Argument(help="The feature service, such as visits_v1.")],
    entity: Annotated[
        list[str], typer.Option(help="Entity as key=number, such as person_id=7; may be repeated, one row each.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Read features by entity from the online store."""
    from maestro.clients.feast import OnlineFeatures

    rows = [_entity(text) for text in entity]
    found = OnlineFeatures(Home.of().features).get(service, rows)
    values = [{**row, **features} for row, features in zip(rows, found, strict=True)]

    def show() -> None:
        columns = list(values[0])
        table(
            service,
            ["feature", *(text for text in entity)],
            [[name, *(row[name] for row in values)] for name in columns],
        )

    emit({"service": service, "rows": values}, as_json=as_json, human=show)


@app.command("list")
def list_services(as_json: JsonFlag = False) -> None:
    """List the feature services."""
    from maestro.clients.feast import catalogue

    known = catalogue(Home.of().features)
    rows = [
        {
            "service": item.name, "fingerprint": item.fingerprint, "entities": list(item.entities), "views": list(item.views),
            "features": list(item.features), "dataset": item.tags.get("dataset"), "version": item.tags.get("dataset_version"),
        }
        for item in known.values()
    ]  # fmt: skip

    def show() -> None:
        cells = [
            (
                row["service"],
                ", ".join(row["entities"] or ()),
                ", ".join(row["views"] or ()),
                len(row["features"] or ()),
                row["dataset"],
                row["version"],
            )
            for row in rows
        ]
        table("Feature services", ["service", "entity", "views", "features", "data set", "version"], cells)

    emit(rows, as_json=as_json, human=show)


def _counts(splits: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(splits.items()))


def _date(text: str | None, flag: str) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise BadInput(f"{flag} {text!r} is not a date", field=flag, remedy="write YYYY-MM-DD") from None


def _entity(text: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            row[name.strip()] = int(value)
        except ValueError:
            raise BadInput(
                f"--entity {text!r} cannot be read", field="--entity", remedy="write key=number, such as person_id=7"
            ) from None
    return row
