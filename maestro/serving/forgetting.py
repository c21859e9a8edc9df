"""Sets that are needed no more, let go of a little at a time: freeing millions of entries at once would stop the event loop for longer than a switch may take."""

from __future__ import annotations

from typing import Any

AT_LEAST = 64


class Forgetting:
    """What is to be let go of.

    >>> forgetting = Forgetting(); forgetting.add(set(range(100))); forgetting.some(1); len(forgetting)
    36
    """

    def __init__(self) -> None:
        self._sets: list[set[Any]] = []

    def __len__(self) -> int:
        return sum(len(each) for each in self._sets)

    def add(self, *unneeded: set[Any]) -> None:
        """Take over sets that nobody else uses any more."""
        self._sets += [each for each in unneeded if each]

    def some(self, growth: int) -> None:
        """Let go of more entries than `growth`, by which the sets in use may grow: so what is left of old ones gets less and less."""
        if not self._sets:
            return
        last = self._sets[-1]
        for _ in range(min(len(last), max(AT_LEAST, 2 * growth))):
            last.pop()
        if not last:
            self._sets.pop()
