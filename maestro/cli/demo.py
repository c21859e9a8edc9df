"""`maestro demo`: the whole lifecycle on this machine or on a cluster, a row for each step."""

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
from maestro.lifecycle.demo.places import Place
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

    def save(self, path: Path, title: str) -> None:
        """The recording as a picture that loads no font from elsewhere."""
        svg = self.console.export_svg(title=title)
        path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))


@app.command()
def demo(
    report: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("demo"),
    keep: Annotated[bool, typer.Option(help="Keep the demo's home afterwards.")] = True,
    cluster: Annotated[bool, typer.Option("--cluster", help="On the cluster that KUBECONFIG names.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the cluster's router from the model that it serves, until the end.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the lifecycle: features, training, tuning, approval, a canary, bad releases, drift, SLA and cost, replay."""
    home = Home(Home.of().root / ("demo-cluster" if cluster else "demo"))
    if home.read_state() is None:
        shutil.rmtree(home.root, ignore_errors=True)
    place = _place(home, cluster=cluster, replace=replace)
    with Live(console=err, refresh_per_second=8, transient=True) as live:
        screen = _Screen(live, quiet=as_json)
        summary = run_story(place, report, screen, on_start=screen.start, on_row=screen.row, note=screen.note)
    screen.summary(summary)
    screen.save(report / "terminal.svg", "make demo-cluster" if cluster else "make demo")
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


def _place(home: Home, *, cluster: bool, replace: bool) -> Place:
    if cluster:
        from maestro.lifecycle.demo.places.cluster import InCluster

        return InCluster(home, replace=replace)
    from maestro.lifecycle.demo.places.laptop import Laptop

    return Laptop(home)


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
