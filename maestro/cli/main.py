"""`maestro`: the domains as sub-commands, each imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from maestro import __version__
from maestro.cli.console import fail, invoke, not_installed, out

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("maestro.cli.demo", "Run the whole lifecycle on this machine."),
    "up": ("maestro.cli.up", "Start the services in the background, with a first model."),
    "down": ("maestro.cli.down", "Stop what `maestro up` started."),
    "env": ("maestro.cli.env", "Print exports for the running services."),
    "service": ("maestro.cli.service", "Run one service in the foreground: api, worker, server."),
    "platform": ("maestro.cli.platform", "The database; plan, apply, examine and remove the platform on a cluster."),
    "features": ("maestro.cli.features", "Apply, materialise and read features."),
    "train": ("maestro.cli.train", "Submit, list, follow, cancel and retry training jobs."),
    "jobs": ("maestro.cli.jobs", "The queue as a whole: active jobs, tenants, advice, clean-up."),
    "tune": ("maestro.cli.tune", "Hyperparameter search."),
    "hpo": ("maestro.cli.hpo", "Studies that run as jobs: list, show, follow, cancel, report."),
    "experiments": ("maestro.cli.experiments", "Experiments and runs."),
    "versions": ("maestro.cli.versions", "Model versions: list, show, compare, promote."),
    "model": ("maestro.cli.model", "What a version takes and answers; how the server answers for it, and why."),
    "predict": ("maestro.cli.predict", "Predict for every row of a table, by every core."),
    "lineage": ("maestro.cli.lineage", "Lineage: track, get, visualize."),
    "approval": ("maestro.cli.approval", "Submit, list, approve and refuse versions."),
    "deploy": ("maestro.cli.deploy", "Roll out, follow, roll back."),
    "decisions": ("maestro.cli.decisions", "List, show and replay decisions."),
    "drift": ("maestro.cli.drift", "Compare current data with a reference."),
    "sla": ("maestro.cli.sla", "SLA report from recorded metrics."),
    "slo": ("maestro.cli.slo", "SLOs and the rules compiled from them."),
    "backup": ("maestro.cli.backup", "Make, verify and list backups; the recovery drill."),
    "restore": ("maestro.cli.restore", "Put a backup back."),
    "cost": ("maestro.cli.cost", "Cost of runs, versions and predictions."),
    "ab": ("maestro.cli.ab", "Analyse an experiment; compute a sample size; judge another policy from the log."),
    "bandits": ("maestro.cli.bandits", "Bandits: learn from the log, show, replay."),
    "keys": ("maestro.cli.keys", "Principals and their keys; signing keys."),
    "audit": ("maestro.cli.audit", "Verify and list the audit log."),
}
"""Name to module and help. A module exposes `app: typer.Typer`."""


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Maestro ML: a model reaches production only by a statistically valid, signed, costed and replayable decision.",
)


def _print_version(value: bool) -> None:
    if value:
        out.print(f"maestro {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


for _name, (_, _help) in COMMANDS.items():
    # stands in the list only; `main` calls the domain itself, so that no other domain is imported
    app.command(_name, help=_help)(lambda: None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in COMMANDS:
        try:
            domain: typer.Typer = importlib.import_module(COMMANDS[words[0]][0]).app
        except ModuleNotFoundError as error:
            if (error.name or "maestro").startswith("maestro"):
                raise
            return fail(not_installed(error))
        return invoke(domain, f"maestro {words[0]}", words[1:])
    return invoke(app, "maestro", words)


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main())
