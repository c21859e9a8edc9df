"""`maestro predict`: batch inference, by every core, interrupted and taken up again without losing or repeating a row."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, out, progress
from maestro.clients.home import Home
from maestro.core.errors import BadInput, MaestroError
from maestro.core.settings import settings

app = typer.Typer(add_completion=False, rich_markup_mode=None, help="Predict for every row of a table.")


@app.command()
def predict(
    model: Annotated[str, typer.Option("--model", help="NAME@VERSION; NAME alone is the newest version.")],
    source: Annotated[Path, typer.Option("--input", help="Parquet or CSV file, or a folder of Parquet files.")],
    output: Annotated[
        Path, typer.Option("--output", help="Parquet file to write; a folder with --dataset or --shard.")
    ],
    keep: Annotated[list[str] | None, typer.Option("--keep", help="Column to hand through; may be repeated.")] = None,
    scores: Annotated[bool, typer.Option("--scores", help="Also write the score of each class.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output and begin anew.")] = False,
    dataset: Annotated[bool, typer.Option("--dataset", help="Leave the parts as a folder of Parquet files.")] = False,
    shard: Annotated[
        str | None,
        typer.Option(help="Only this share, such as 0/4; /4 takes the index from JOB_COMPLETION_INDEX (indexed Job)."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Worker processes; by default one a core.")
    ] = None,
    part_rows: Annotated[int, typer.Option(min=1, help="Rows in a part, about; whole row groups.")] = 131_072,
    environment: Annotated[str, typer.Option(help="The environment whose statements count.")] = "production",
    versions_from: Annotated[
        str | None, typer.Option(help="Address of the control plane: the version is fetched there if it is not here.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="File with the API key for --versions-from; by default MAESTRO_API_KEY.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Predict for every row. Run again after an interruption, it goes on where it was."""
    from maestro.serving.batch.run import BatchModel, Share
    from maestro.serving.batch.run import predict as run
    from maestro.serving.fetching import fetch_version
    from maestro.serving.prepare.run import prepare
    from maestro.serving.prepare.version import taken_in
    from maestro.serving.runtimes import has_original
    from maestro.serving.runtimes.plan import PlanStore

    options = settings()
    home = Home.of(options)
    share = None if shard is None else Share.parse(shard)
    if versions_from is not None:
        fetch_version(home, model, versions_from.rstrip("/"), _token(key))
    with (
        progress("taking the version in") as bar,
        taken_in(home, options, model, need="production", environment=environment) as version,
    ):
        private = tuple(path for path in (home.keys, home.database) if path.exists())
        if has_original(version.files):
            # Once, with the bar; a version that cannot be prepared here answers by its original, and its workers say why.
            with suppress(MaestroError):
                prepare(
                    version.files, version.contract, version.digest, PlanStore(home.plans), private=private, say=bar.update
                )  # fmt: skip
        result = run(
            BatchModel(version.files, version.contract, version.digest, home.plans, private),
            source,
            output,
            keep=tuple(keep or ()),
            scores=scores,
            overwrite=overwrite,
            dataset=dataset,
            share=share,
            processes=processes,
            part_rows=part_rows,
            progress=bar,
        )
    document: dict[str, Any] = {
        "output": str(result.output),
        "rows": result.rows,
        "rows_this_run": result.rows_now,
        "seconds": round(result.seconds, 3),
        "rows_per_s": round(result.rows_now / result.seconds) if result.seconds else None,
        "paths": list(result.paths),
        "out_of_range": result.out_of_range,
        "complete": result.complete,
    }
    emit(document, as_json=as_json, human=lambda: _show(document))


def _token(key: Path | None) -> str:
    if key is None:
        return os.environ.get("MAESTRO_API_KEY", "")
    try:
        return key.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{key}: {error}", field="key", remedy="name a file that holds an API key") from None


def _show(document: dict[str, Any]) -> None:
    out.print(
        f"{document['rows']:,} rows in {document['output']}, {document['rows_this_run']:,} of them now, "
        f"{document['rows_per_s'] or 0:,} a second",
        highlight=False,
    )
    if document["out_of_range"]:
        counts = ", ".join(f"{name} {count:,}" for name, count in document["out_of_range"].items())
        out.print(f"beyond the ranges of training: {counts}", highlight=False)
    if not document["complete"]:
        out.print("other shards are not done yet", highlight=False)
