"""`maestro lineage`: record, print, export and draw what was made from what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, out, progress, script
from maestro.clients.api import ApiClient
from maestro.clients.home import Home
from maestro.core.errors import BadInput, Unreachable
from maestro.governance.lineage.drawing import html, svg
from maestro.governance.lineage.model import LineageGraph
from maestro.governance.lineage.tree import tree

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Lineage.")

RunId = Annotated[str, typer.Option("--run-id", help="The MLflow run.")]


@app.command()
def track(
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="Only this run; by default all that is not recorded.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Record lineage that events have not brought yet, and store it with the run in MLflow."""
    with progress("recording lineage") as bar:
        bar.update(0.2, "reading runs")
        found = ApiClient.of().post("/lineage/track", {"run_id": run_id})
    recorded = found["recorded"]
    emit(found, as_json=as_json, human=lambda: out.print(f"recorded: {', '.join(recorded) or 'nothing new'}"))


@app.command()
def get(
    run_id: Annotated[str | None, typer.Option("--run-id", help="The MLflow run.")] = None,
    model: Annotated[str | None, typer.Option("--model", "--model-name", help="A model's full history.")] = None,
    events: Annotated[bool, typer.Option("--events", help="Print the OpenLineage events.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Print the lineage of a run or of a model: a tree, JSON, or OpenLineage events."""
    client = ApiClient.of()
    if (run_id is None) == (model is None):
        raise BadInput("give --run-id or --model", field="run-id", remedy="name one run or one model")
    if events:
        if run_id is None:
            raise BadInput("--events needs --run-id", field="run-id", remedy="name a run")
        emit(client.get(f"/lineage/runs/{run_id}/events"), as_json=True)
        return
    found = client.get(f"/lineage/runs/{run_id}" if run_id is not None else f"/lineage/models/{model}")
    emit(
        found,
        as_json=as_json,
        human=lambda: out.print(tree(_graph(found)), highlight=False, markup=False, soft_wrap=True),
    )


@app.command()
def visualize(
    run_id: RunId,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File ending in .html, .svg or .json.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the tree and draw the lineage of a run to a file."""
    graph = _graph(ApiClient.of().get(f"/lineage/runs/{run_id}"))
    path = output or Home.of().root / "lineage" / f"{run_id}.html"
    text = _drawn(graph, path, run_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise Unreachable(f"{path} cannot be written: {error.strerror}", remedy="give another --output") from None
    result = {"run_id": run_id, "file": str(path), "nodes": len(graph.nodes), "edges": len(graph.edges)}

    def human() -> None:
        out.print(tree(graph), highlight=False, markup=False, soft_wrap=True)
        out.print(f"drawn to {path}", highlight=False, markup=False, soft_wrap=True)

    emit(result, as_json=as_json, human=human)


def _drawn(graph: LineageGraph, path: Path, run_id: str) -> str:
    match path.suffix:
        case ".html":
            return html(graph, f"Lineage of run {run_id}")
        case ".svg":
            return svg(graph)
        case ".json":
            return graph.model_dump_json(indent=2) + "\n"
        case other:
            raise BadInput(
                f"cannot draw a {other or 'file without ending'}", field="output", remedy="use .html, .svg or .json"
            )


def _graph(document: dict[str, Any]) -> LineageGraph:
    return LineageGraph.model_validate(document)


main = script(app, "lineage-tracker.py")
