"""How every command prints and fails: Rich for people, one JSON document for scripts, exit codes by meaning."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from maestro.core.errors import MaestroError, Malformed, Unreachable, from_validation

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
"""The `--json` option that every command has."""

out = Console()
"""Standard output, for people."""

err = Console(stderr=True)
"""Standard error: progress and failures."""

_UsageFailure = cast(
    "type[typer.BadParameter]", next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
)
"""The base of what the command line's parser raises; Typer does not export it."""


def emit(value: Any, *, as_json: bool, human: Callable[[], None] | None = None) -> None:
    """Print a result: as one JSON document, or by `human`, or as text."""
    if as_json or human is None:
        sys.stdout.write(json.dumps(_jsonable(value), indent=2, sort_keys=False, allow_nan=False) + "\n")
    else:
        human()


def _jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table."""
    grid = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*("" if cell is None else str(cell) for cell in row))
    out.print(grid)


class BarProgress:
    """`maestro.core.seams.Progress` drawn as a bar on standard error."""

    def __init__(self, bar: Progress, description: str) -> None:
        self._bar = bar
        self._task = bar.add_task(description, total=1.0)

    def update(self, fraction: float, message: str) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=fraction, description=message)


@contextmanager
def progress(description: str) -> Iterator[BarProgress]:
    """A progress bar for work over a second; silent when standard error is no terminal."""
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=err,
        transient=True, disable=not err.is_terminal,
    ) as bar:  # fmt: skip
        yield BarProgress(bar, description)


def read_yaml(path: Path, what: str) -> Any:
    """The content of a YAML or JSON file.

    Raises:
        Malformed: it is not there or cannot be read; the line is named.
    """
    import yaml

    try:
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise Malformed(f"{what} {path}: {error.strerror}", field=str(path), remedy="check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise Malformed(f"{what} {path} is not YAML{where}", field=str(path), remedy="correct the file") from None


def fail(error: MaestroError) -> int:
    """Print a failure in the form the caller asked for; returns the exit code."""
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(error.problem(), indent=2) + "\n")
    else:
        err.print(f"[bold red]{error.title}:[/] {_escape(error.detail)}", highlight=False, soft_wrap=True)
        if error.remedy:
            err.print(f"[dim]→[/] {_escape(error.remedy)}", highlight=False, soft_wrap=True)
    return error.exit_code


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


def script(app: typer.Typer, name: str | None = None) -> Callable[[], int]:
    """The `main` of a promised script: runs `app`, returns its exit code, never shows a traceback for a user's mistake."""

    def main() -> int:
        return invoke(app, name)

    return main


def invoke(app: typer.Typer, name: str | None = None, arguments: Sequence[str] | None = None) -> int:
    """Run a Typer application; every outcome becomes an exit code of formats.md."""
    command = typer.main.get_command(app)
    try:
        result = command.main(
            args=list(arguments) if arguments is not None else None, prog_name=name, standalone_mode=False
        )
    except MaestroError as error:
        return fail(error)
    except ValidationError as error:
        return fail(from_validation(error, "input"))
    except (KeyboardInterrupt, typer.Abort):
        err.print("interrupted")
        return 130
    except typer.Exit as error:
        return error.exit_code
    except _UsageFailure as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            err.print(error.format_message(), highlight=False, markup=False)  # the help; no word was wrong
            return 2
        return fail(Malformed(error.format_message(), remedy="see --help"))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        return fail_bug(error) if (error.name or "maestro").startswith("maestro") else fail(not_installed(error))
    except Exception as error:  # noqa: BLE001 - the last line of defence: a bug becomes one line and a log
        return fail_bug(error)
    return result if isinstance(result, int) else 0


def not_installed(error: ModuleNotFoundError) -> MaestroError:
    """A library of an extra that this environment lacks."""
    return Unreachable(
        f"{error.name} is not installed", remedy="pip install 'maestro-ml[laptop]'", component=error.name
    )


def fail_bug(error: Exception) -> int:
    """Write the traceback to the log, print one line; returns 70."""
    from maestro.clients.home import Home

    logs = Home.of().logs
    logs.mkdir(parents=True, exist_ok=True)
    path = logs / "crash.log"
    with path.open("a") as handle:
        traceback.print_exception(error, file=handle)
    return fail(
        MaestroError(f"a bug in Maestro: {type(error).__name__}: {error}", remedy=f"please report it with {path}")
    )
