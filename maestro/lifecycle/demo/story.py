"""Runs the steps in order, times them, and says whether each verdict was the expected one."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from maestro.core.errors import MaestroError
from maestro.core.events import Event, projection
from maestro.core.seams import Progress
from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.places import Place, Steps
from maestro.lifecycle.demo.report import write_report
from maestro.lifecycle.demo.stage import Stage

STEPS: Steps = (
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
    steps: int = len(STEPS)

    @property
    def as_expected(self) -> bool:
        """Whether every step ran and gave the expected verdict."""
        return len(self.rows) == self.steps + 1 and all(row.expected for row in self.rows)


def steps_of(place: Place) -> Steps:
    """The story's steps at a place: those of every place, and after some those that only this one can show."""
    own = place.setting.own_steps
    return tuple(step for known in STEPS for step in (known, *own.get(known[0], ())))


def run_story(
    place: Place,
    out: Path,
    progress: Progress,
    *,
    on_start: Callable[[int, str], None],
    on_row: Callable[[Row], None],
    note: Callable[[str], None],
) -> Summary:
    """Run every step; a step that fails ends the story.

    Args:
        place: where.
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

    steps = steps_of(place)
    told: list[list[tuple[Any, ...]]] = []
    on_start(0, "Services")
    with place.running(progress) as names:
        finish(0, "Services", Outcome(", ".join(names), True, str(place.setting.home.root)), time.monotonic() - began)
        stage = Stage.of(place, progress, out, note)
        for number, (module, title) in enumerate(steps, start=1):
            on_start(number, title)
            started = time.monotonic()
            outcome = _run_step(module, stage)
            finish(number, title, outcome, time.monotonic() - started)
            if module == "bad_release":
                told = projections(place.events(), stage.facts["versions"], stage.model)
            if not outcome.expected:
                break
    summary = Summary(tuple(rows), time.monotonic() - began, out / "index.html", len(steps))
    write_report(summary.rows, summary.seconds, summary.report, place.setting.where)
    facts = {
        "seconds": summary.seconds, "as_expected": summary.as_expected, "where": place.setting.where,
        "rows": [_plain(row) for row in rows], "projections": told,
    }  # fmt: skip
    (out / "result.json").write_text(json.dumps(facts, indent=2, default=str) + "\n")
    return summary


def projections(
    events: Sequence[Event], versions: dict[str, dict[str, Any]], model: str
) -> list[list[tuple[Any, ...]]]:
    """The projection (formats.md) of each rollout of the story, by which two places are compared.

    Versions stand by the name of the job that made them: their numbers follow the order in which jobs end, which is no part of the story.
    """
    names = {version["version"]: name for name, version in versions.items()}
    rollouts: dict[str, list[Event]] = {}
    for event in events:
        subject = event.subject.partition("/")[2]
        if subject.startswith(f"{model}@"):
            rollouts.setdefault(subject, []).append(event)
    return [
        [
            tuple(names.get(value, value) if isinstance(value, str) else value for value in row)
            for row in projection(found)
        ]
        for found in rollouts.values()
    ]


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
