"""`maestro model`: what a version takes and answers, how the server answers for it, and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from maestro.cli.console import JsonFlag, emit, out, progress, table
from maestro.clients.home import Home
from maestro.core.settings import settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="What a version takes and answers; how the server answers for it, and why.",
)

ModelName = Annotated[
    str, typer.Argument(help="NAME@VERSION; NAME alone is the newest version.", metavar="NAME[@VERSION]")
]
Environment = Annotated[str, typer.Option(help="The environment whose statements count.")]


@app.command()
def inspect(
    model: ModelName,
    environment: Environment = "production",
    prepare_it: Annotated[
        bool, typer.Option("--prepare/--no-prepare", help="Prepare the version first when it has no plan that holds.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show contract, digest, signature, the paths that answer with their speed, and the candidates refused."""
    from maestro.serving.prepare.version import find_version, signature
    from maestro.serving.runtimes.plan import PlanStore

    options = settings()
    home = Home.of(options)
    name = "@".join(find_version(home, model))
    if prepare_it:
        _prepare(name, environment, again=False)
    from maestro.security.quarantine import read_manifest
    from maestro.serving.loading import CONTRACT, read_contract
    from maestro.serving.runtimes import has_original

    folder = home.version(*name.split("@"))
    manifest = read_manifest(folder)
    found = PlanStore(home.plans).find(manifest.content_digest())
    state = signature(home, options, manifest.model, manifest.version, environment)
    contract = read_contract(folder / "files" / CONTRACT)
    document: dict[str, Any] = {
        "model": manifest.model,
        "version": manifest.version,
        "digest": manifest.content_digest(),
        "files": [entry.document() for entry in manifest.files],
        "signature": {"built": state.built, "promoted": state.promoted, "reason": state.reason},
        "contract": contract.document(),
        "answers": _answers(has_original(folder / "files"), found is not None),
        "plan": None if found is None else _summary(found[0]),
    }
    emit(document, as_json=as_json, human=lambda: _show(document))


@app.command()
def prepare(
    model: ModelName,
    environment: Environment = "production",
    again: Annotated[bool, typer.Option("--again", help="Even when a plan holds.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Convert a version, prove each fast path against the original, measure, and keep the plan."""
    found = _prepare(model, environment, again=again)
    emit(found, as_json=as_json, human=lambda: _show_plan(found))


def _prepare(model: str, environment: str, *, again: bool) -> dict[str, Any]:
    from maestro.core.errors import BadInput
    from maestro.serving.prepare.run import prepare as prepared
    from maestro.serving.prepare.version import taken_in
    from maestro.serving.runtimes import has_original
    from maestro.serving.runtimes.plan import PlanStore

    options = settings()
    home = Home.of(options)
    with (
        progress("taking the version in") as bar,
        taken_in(home, options, model, need="provenance", environment=environment) as version,
    ):
        if not has_original(version.files):
            raise BadInput(
                f"{model} is ONNX as it was logged: there is no other original to prove it against",
                field="model",
                remedy="nothing is to be prepared; the server answers by it",
            )
        private = [path for path in (home.keys, home.database) if path.exists()]
        plan = prepared(
            version.files, version.contract, version.digest, PlanStore(home.plans), private=private, say=bar.update, again=again
        )  # fmt: skip
        return _summary(plan)


def _summary(plan: Any) -> dict[str, Any]:
    """The plan for people: what was chosen, why, the speed-up and the largest difference."""
    original = plan.original.us
    paths = []
    for path in plan.paths:
        speed_up = {size: round(original[size] / path.us[size], 1) for size in original if path.us.get(size)}
        paths.append(
            {
                "name": path.name, "origin": path.origin, "us": path.us, "us_per_row": _per_row(path.us), "speed_up": speed_up,
                "largest_difference": path.largest_difference, "tied_labels": path.tied_labels,
            }
        )  # fmt: skip
    return {
        "digest": plan.digest,
        "why": plan.why,
        "choices": [choice.document() for choice in plan.choices],
        "original": {"kind": plan.original.kind, "us": original, "us_per_row": _per_row(original)},
        "paths": paths,
        "refused": [refused.document() for refused in plan.refused],
        "proof": plan.proof.document(),
        "versions": plan.versions,
        "seconds": plan.seconds,
    }


def _per_row(us: dict[int, float]) -> dict[int, float]:
    return {size: round(cost / size, 3) for size, cost in us.items()}


def _show(document: dict[str, Any]) -> None:
    contract, state = document["contract"], document["signature"]
    told = "promoted" if state["promoted"] else ("built and signed, not promoted" if state["built"] else "not trusted")
    rows = [
        ("version", f"{document['model']}@{document['version']}"),
        ("digest", document["digest"]),
        ("signature", told + (f": {state['reason']}" if state["reason"] else "")),
        ("files", len(document["files"])),
        ("output", contract["output"]["kind"] + _listed(contract["output"].get("classes"))),
        ("out of range", contract["on_out_of_range"]),
        ("features", f"{len(contract['features'])}: {_names(contract)}"),
    ]
    table("", ("field", "value"), rows)
    if document["plan"] is None:
        out.print(document["answers"])
        return
    _show_plan(document["plan"])


def _answers(has_original: bool, has_plan: bool) -> str:
    if not has_original:
        return "by the ONNX file that was logged: it is the original"
    if has_plan:
        return "by its plan"
    return "no plan holds here: the server prepares the version when it loads it, or maestro model prepare does"


def _names(contract: dict[str, Any]) -> str:
    names = [f"{item['name']} ({item['type']})" for item in contract["features"][:8]]
    return ", ".join(names) + (", …" if len(contract["features"]) > 8 else "")


def _listed(classes: list[str] | None) -> str:
    return f" ({', '.join(classes)})" if classes else ""


def _show_plan(plan: dict[str, Any]) -> None:
    out.print(plan["why"], highlight=False)
    original = plan["original"]
    sizes = list(original["us"])
    rows: list[tuple[Any, ...]] = [
        (f"original ({original['kind']})", *(f"{original['us_per_row'][size]:,.1f}" for size in sizes), "", "")
    ]
    for path in plan["paths"]:
        fast = [f"{path['us_per_row'].get(size, 0):,.2f} ({path['speed_up'].get(size, 0):,.0f}×)" for size in sizes]
        rows.append(
            (f"{path['name']} ({path['origin']})", *fast, f"{path['largest_difference']:.1e}", path["tied_labels"])
        )
    heads = [f"µs a row at {size}" for size in sizes]
    table("paths", ("path", *heads, "largest difference", "ties"), rows)
    if plan["refused"]:
        table("refused", ("candidate", "why"), [(item["name"], item["reason"]) for item in plan["refused"]])
