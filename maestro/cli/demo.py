"""`maestro demo`: the whole lifecycle on this machine, a row for each step."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from maestro.cli.console import JsonFlag, emit, err
from maestro.clients.home import Home
from maestro.core.errors import NegativeVerdict
from maestro.lifecycle.demo.story import Row, Summary, run_story

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_WIDTH = 118


class _Screen:
    """Finished rows on standard output, recorded; what is going on below them on standard error."""

    def __init__(self, live: Live, *, quiet: bool) -> None:
        self.console = Console(record=True, quiet=quiet, width=min(_WIDTH, Console().width), highlight=False)
        self._live = live
        self._title = ""

    def start(self, number: int, title: str) -> None:
        self._title = f"{number:>2}  {title}"
        self.update(0.0, "")

    def update(self, fraction: float, message: str) -> None:
        self._live.update(Spinner("dots", Text(f"{self._title}  {message}"[: err.width - 4])))

    def note(self, text: str) -> None:
        self.console.print(Padding(Text(text, style="dim"), (0, 0, 0, 6)))

    def row(self, row: Row) -> None:
        mark, style = ("✓", "bold green") if row.expected else ("✗", "bold red")
        head = Text.assemble(
            (mark, style), f" {row.number:>2}  ", (f"{row.title:<34}", "bold"), (f"{row.seconds:6.1f} s", "cyan")
        )
        self.console.print(head)
        self.console.print(Padding(Text(row.result), (0, 0, 0, 6)))

    def summary(self, summary: Summary) -> None:
        grid = Table(header_style="bold")
        for column in ("", "step", "verdict", "time", "where to look"):
            grid.add_column(column, overflow="fold")
        for row in summary.rows:
            verdict = Text("as expected", "green") if row.expected else Text("NOT as expected", "bold red")
            grid.add_row(str(row.number), row.title, verdict, f"{row.seconds:.1f} s", row.where)
        self.console.print(grid)
        self.console.print(f"{summary.seconds:.0f} s in all; report: {summary.report}")

    def save(self, path: Path) -> None:
        """The recording as a picture that loads no font from elsewhere."""
        svg = self.console.export_svg(title="make demo")
        path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))


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
        screen = _Screen(live, quiet=as_json)
        summary = run_story(home, report, screen, on_start=screen.start, on_row=screen.row, note=screen.note)
    screen.summary(summary)
    screen.save(report / "terminal.svg")
    if as_json:
        emit(_document(summary), as_json=True)
    if not keep:
        shutil.rmtree(home.root, ignore_errors=True)
    if summary.as_expected:
        return
    if as_json:
        raise typer.Exit(NegativeVerdict.exit_code)  # the one document says why
    failed = next((row for row in summary.rows if not row.expected), summary.rows[-1])
    raise NegativeVerdict(f"step {failed.number}, {failed.title}: {failed.result}", remedy=f"look at {failed.where}")


def _document(summary: Summary) -> dict[str, object]:
    return {
        "as_expected": summary.as_expected,
        "seconds": round(summary.seconds, 1),
        "report": str(summary.report),
        "steps": [
            {
                "number": row.number,
                "title": row.title,
                "result": row.result,
                "expected": row.expected,
                "seconds": round(row.seconds, 1),
                "where": row.where,
            }
            for row in summary.rows
        ],
    }
