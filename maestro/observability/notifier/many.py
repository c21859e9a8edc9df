"""Several notifiers as one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from maestro.core.seams import Alert, Notifier


class ManyNotifiers:
    """Gives each alert to all of `notifiers` at the same time, so that a slow receiver delays none of the others."""

    def __init__(self, notifiers: Sequence[Notifier]) -> None:
        self._notifiers = tuple(notifiers)

    def notify(self, alert: Alert) -> bool:
        """Whether every one accepted it."""
        with ThreadPoolExecutor(max_workers=len(self._notifiers)) as pool:
            return all(list(pool.map(lambda each: each.notify(alert), self._notifiers)))
