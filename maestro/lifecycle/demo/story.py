"""Runs the steps in order, times them, and says whether each verdict was the expected one."""

from __future__ import annotations

import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from maestro.clients.home import Home
from maestro.core.errors import MaestroError
from maestro.core.seams import Progress
from maestro.core.settings import settings
from maestro.lifecycle import bootstrap
from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.report import write_report
from maestro.lifecycle.demo.stage import Stage
from maestro.lifecycle.supervisor import Supervisor

STEPS: tuple[tuple[str, str], ...] = (
    ("features", "Features"),
    ("train", "Train"),
    ("tune", "Tune"),
    ("register", "Register"),
    ("lineage", "Lineage"),
    ("approval", "Gates and approval"),
    ("canary", "Canary that earns its promotion"),
    ("bad_release", "Bad releases"),
    ("drift", "Drift"),
    ("operations", "SLA and cost"),
    ("replay", "Replay"),
)
"""Module below `steps/` and title, in order."""


@dataclass(frozen=True)
class Row:
    """One line of the summary."""

    number: int
    title: str
    result: str
    expected: bool
    seconds: float
    where: str
    sections: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """The whole run."""

    rows: tuple[Row, ...]
    seconds: float
    report: Path

    @property
    def as_expected(self) -> bool:
        """Whether every step ran and gave the expected verdict."""
        return len(self.rows) == len(STEPS) + 1 and all(row.expected for row in self.rows)


def run_story(
    home: Home,
    out: Path,
    progress: Progress,
    *,
    on_start: Callable[[int, str], None],
    on_row: Callable[[Row], None],
    note: Callable[[str], None],
) -> Summary:
    """Run every step in a fresh home; a step that fails ends the story.

    Args:
        home: an empty home.
        out: folder of the report.
        progress: told what a long step is doing.
        on_start: called with number and title before each step.
        on_row: called with each finished row.
        note: called with what a step says before it begins.
    """
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    rows: list[Row] = []

    def finish(number: int, title: str, outcome: Outcome, seconds: float) -> None:
        rows.append(
            Row(
                number,
                title,
                outcome.result,
                outcome.expected,
                seconds,
                _here(outcome.where),
                outcome.sections,
                outcome.facts,
            )
        )
        on_row(rows[-1])

    on_start(0, "Services")
    with _prepared(home, progress) as supervisor:
        names = ", ".join(service.name for service in supervisor.services)
        finish(0, "Services", Outcome(names, True, str(home.logs)), time.monotonic() - began)
        stage = Stage.of(home, progress, out, note)
        for number, (module, title) in enumerate(STEPS, start=1):
            on_start(number, title)
            started = time.monotonic()
            outcome = _run_step(module, stage)
            finish(number, title, outcome, time.monotonic() - started)
            if not outcome.expected:
                break
    summary = Summary(tuple(rows), time.monotonic() - began, out / "index.html")
    write_report(summary.rows, summary.seconds, summary.report)
    facts = {"seconds": summary.seconds, "as_expected": summary.as_expected, "rows": [_plain(row) for row in rows]}
    (out / "result.json").write_text(json.dumps(facts, indent=2, default=str) + "\n")
    return summary


@contextmanager
def _prepared(home: Home, progress: Progress) -> Iterator[Supervisor]:
    options = settings().model_copy(update={"database_url": None})
    bootstrap.prepare(home, options).close()
    with Supervisor(home, progress=progress) as supervisor:
        stop = threading.Event()
        # lives as long as what it restarts: a service ends with the thread that started it
        watch = threading.Thread(target=supervisor.run, args=(stop,), name="supervisor")
        watch.start()
        try:
            yield supervisor
        finally:
            stop.set()
            watch.join()


def _run_step(module: str, stage: Stage) -> Outcome:
    step = importlib.import_module(f"maestro.lifecycle.demo.steps.{module}")
    try:
        outcome: Outcome = step.run(stage)
    except MaestroError as error:
        remedy = f" → {error.remedy}" if error.remedy else ""
        return Outcome(f"{error.title}: {error.detail}{remedy}", False, str(stage.home.logs))
    return outcome


def _here(where: str) -> str:
    """A path below the present folder, as a person would type it."""
    return where.replace(f"{Path.cwd()}/", "")


def _plain(row: Row) -> dict[str, Any]:
    document = asdict(row)
    document.pop("sections")
    return document
