"""What an apply shows while it runs: a live table of stages and of what is waited for; plain lines where there is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.live import Live
from rich.table import Table

from maestro.cli.console import err
from maestro.operations.platform.applying import Change
from maestro.operations.platform.objects import shown

SHOWN_WAITING = 12


class LiveView:
    """`maestro.operations.platform.applying.Watcher` on standard error.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._stages: dict[str, list[int]] = {}
        self._stage = ""
        self._waiting: dict[str, str] = {}
        self._live = Live(self._table(), console=err, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if not self._quiet and err.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live.is_started:
            self._live.stop()

    def on_stage(self, name: str, objects: int) -> None:
        """A stage begins."""
        self._stage, self._waiting = name, {}
        self._stages[name] = [0, 0, objects]
        self._show(f"{name}: {objects} objects")

    def on_change(self, change: Change) -> None:
        """An object was applied or deleted."""
        if change.stage in self._stages:
            self._stages[change.stage][0] += 1
            self._stages[change.stage][1] += change.action in {"create", "change"}
        self._show(f"  {change.action} {shown(change.object)}" if change.action != "unchanged" else "")

    def on_waiting(self, waiting: dict[str, str]) -> None:
        """These objects are not ready."""
        fresh = [f"  waiting for {one}: {why}" for one, why in waiting.items() if self._waiting.get(one) != why]
        self._waiting = waiting
        self._show("\n".join(fresh))

    def _show(self, line: str) -> None:
        if self._live.is_started:
            self._live.update(self._table())
        elif line and not self._quiet:
            err.print(line, highlight=False, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        grid = Table(header_style="bold")
        for column in ("stage", "applied", "changed", "waiting for"):
            grid.add_column(column, overflow="fold")
        for name, (done, changed, objects) in self._stages.items():
            waiting = list(self._waiting.items()) if name == self._stage else []
            text = "\n".join(f"{one}: {why}" for one, why in waiting[:SHOWN_WAITING])
            grid.add_row(name, f"{done}/{objects}", str(changed), text)
        return grid
