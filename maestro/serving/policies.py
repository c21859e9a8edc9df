"""What bandit nodes act on: the current snapshot of each, followed as its file changes, and the names of units."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from maestro.clients.bandit_snapshots import SnapshotStore, stores
from maestro.core.errors import MaestroError
from maestro.decisions.bandits import Decider, Snapshot, create_policy
from maestro.decisions.bandits.first import continues

log = logging.getLogger(__name__)

LOOK_S = 0.2
"""Between looks at a snapshot's file, in seconds."""

Key = tuple[str, ...]


class PolicySource:
    """The decider of one bandit node. A snapshot file that cannot be read, or is of another bandit, leaves what was there before.

    Args:
        first: what the node knows while no file says more.
        now: a monotonic clock in seconds.
    """

    def __init__(self, store: SnapshotStore, first: Snapshot, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._first = first
        self._now = now
        self._policy = create_policy(first.policy)
        self._decider = Decider(self._policy, first)
        self._seen: tuple[int, int, int] | None = None
        self._next = 0.0
        self.decider()

    def decider(self) -> Decider:
        """The policy on the newest snapshot that this server has seen."""
        now = self._now()
        if now >= self._next:
            self._next = now + LOOK_S
            self._look()
        return self._decider

    def _look(self) -> None:
        try:
            status = os.stat(self._store.current_path)
        except OSError:
            return
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            snapshot = self._store.current()
        except MaestroError as error:
            log.warning("snapshot of %s is not followed: %s", self._store.experiment, error.detail)
            return
        if snapshot is None:
            return
        if not continues(snapshot, self._first):
            log.warning(
                "snapshot %d of %s is of other arms or settings than the graph's and is not followed",
                snapshot.number,
                self._store.experiment,
            )
            return
        self._decider = Decider(self._policy, snapshot)


class Policies:
    """Makes the sources of a server's bandit nodes.

    Args:
        graphs: the folder of the graph files.
        name: a unit's name in the log, from its key's text.
    """

    def __init__(self, graphs: Path, name: Callable[[str], str]) -> None:
        self.name = name
        self._graphs = graphs

    def source(self, model: str, first: Snapshot) -> PolicySource:
        """The source of one node."""
        return PolicySource(SnapshotStore(self._graphs, model, first.experiment), first)

    def series(self) -> list[tuple[str, list[tuple[Key, float]]]]:
        """Reward, regret and exploration of every bandit that has learnt something, as its log told when it last learnt."""
        found: dict[str, list[tuple[Key, float]]] = {name: [] for name in SERIES}
        for store in stores(self._graphs):
            try:
                summary, snapshot = store.summary(), store.current()
            except MaestroError as error:
                log.warning("bandit %s cannot be exported: %s", store.experiment, error.detail)
                continue
            if summary is None or snapshot is None:
                continue
            key = (store.model, store.experiment)
            for arm in summary.arms:
                found["maestro_bandit_exposures"].append(((*key, arm.arm), float(arm.exposures)))
                found["maestro_bandit_rewarded"].append(((*key, arm.arm), float(arm.rewarded)))
                found["maestro_bandit_reward"].append(((*key, arm.arm), arm.reward))
            found["maestro_bandit_regret"].append((key, summary.regret))
            found["maestro_bandit_exploration_rate"].append((key, summary.exploration_rate))
            found["maestro_bandit_snapshot"].append((key, float(snapshot.number)))
        return list(found.items())


SERIES = (
    "maestro_bandit_exposures",
    "maestro_bandit_rewarded",
    "maestro_bandit_reward",
    "maestro_bandit_regret",
    "maestro_bandit_exploration_rate",
    "maestro_bandit_snapshot",
)
"""Gauges, all of them: a log is learnt from anew each time."""
