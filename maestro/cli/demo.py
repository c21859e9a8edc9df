"""`maestro demo`: the whole lifecycle on this machine, a row for each step."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.spinner import Spinner

from maestro.cli.console import JsonFlag, emit, err, out, table
from maestro.clients.home import Home
from maestro.core.errors import NegativeVerdict
from maestro.lifecycle.demo.story import Row, Summary, run_story

app = typer.Typer(rich_markup_mode=None)


class _Line:
    """The line under the finished rows that says what is going on."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._title = ""

    def start(self, number: int, title: str) -> None:
        self._title = f"{number:>2}  {title}"
        self.update(0.0, "")

    def update(self, fraction: float, message: str) -> None:
        self._live.update(Spinner("dots", f"{self._title}  {message}"))


@app.command()
def demo(
    report: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("demo"),
    keep: Annotated[bool, typer.Option(help="Keep the demo's home afterwards.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Run the lifecycle: features, training, tuning, approval, a canary, bad releases, drift, SLA and cost, replay."""
    home = Home(Home.of().root / "demo")
    if home.read_state() is None:
        shutil.rmtree(home.root, ignore_errors=True)
    with Live(console=err, refresh_per_second=8, transient=True) as live:
        line = _Line(live)

        def show(row: Row) -> None:
            if not as_json:
                mark = "[green]✓[/]" if row.expected else "[red]✗[/]"
                out.print(f"{mark} {row.number:>2}  {row.title:<32} {row.seconds:6.1f} s  ", end="", highlight=False)
                out.print(row.result, markup=False, highlight=False, soft_wrap=True)

        def note(text: str) -> None:
            if not as_json:
                out.print(f"       {text}", markup=False, highlight=False, soft_wrap=True)

        summary = run_story(home, report, line, on_start=line.start, on_row=show, note=note)
    _finish(summary, as_json)
    if not keep:
        shutil.rmtree(home.root, ignore_errors=True)
    if not summary.as_expected:
        failed = next((row for row in summary.rows if not row.expected), summary.rows[-1])
        raise NegativeVerdict(
            f"step {failed.number}, {failed.title}: {failed.result}", remedy=f"look at {failed.where}"
        )


def _finish(summary: Summary, as_json: bool) -> None:
    document = {
        "as_expected": summary.as_expected,
        "seconds": round(summary.seconds, 1),
        "report": str(summary.report),
        "steps": [
            {
                "number": r.number,
                "title": r.title,
                "result": r.result,
                "expected": r.expected,
                "seconds": round(r.seconds, 1),
                "where": r.where,
            }
            for r in summary.rows
        ],
    }

    def show() -> None:
        rows = [
            (r.number, r.title, "as expected" if r.expected else "NOT as expected", f"{r.seconds:.1f} s", r.where)
            for r in summary.rows
        ]
        table("Summary", ["", "step", "verdict", "time", "where to look"], rows)
        out.print(f"{summary.seconds:.0f} s in all; report: {summary.report}", highlight=False)

    emit(document, as_json=as_json, human=show)
