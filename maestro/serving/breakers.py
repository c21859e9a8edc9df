"""The circuit breakers of one server, each the only one for what it guards, whoever asks: a version, a remote node, the feature store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from maestro.serving.breaker import Breaker, BreakerState


class Breakers:
    """Makes each breaker once and says in what state they are.

    A breaker's key is the version's digest, the remote node's address or the store's name; its label is what `maestro_breaker_state` calls it. Several
    under one label (two versions of a model) show as the worst of them. A remote node keeps its breaker from one revision of a graph to the next.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._known: dict[str, tuple[str, Breaker]] = {}

    def of(self, key: str, label: str) -> Breaker:
        """The breaker of `key`, made on first sight."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = (label, Breaker(now=self._now))
        return found[1]

    def forget(self, key: str) -> None:
        """What it guarded is gone."""
        self._known.pop(key, None)

    def series(self) -> Iterable[tuple[str, list[tuple[tuple[str, ...], float]]]]:
        """What is exported."""
        worst: dict[str, BreakerState] = {}
        for label, breaker in list(self._known.values()):
            worst[label] = max(worst.get(label, BreakerState.CLOSED), breaker.state)
        return [("maestro_breaker_state", [((label,), float(state)) for label, state in worst.items()])]
