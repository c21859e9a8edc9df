"""The loop of the control plane: leads every rollout that nobody leads, watches graphs and aliases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread

from maestro.core.errors import MaestroError
from maestro.governance.rollouts.controller import RolloutController

log = logging.getLogger(__name__)

POLL_S = 0.5


@dataclass
class Watch:
    """Something to look at every so often."""

    name: str
    every_s: float
    look: Callable[[], object]
    waited_s: float = 0.0


class RolloutRunner:
    """Threads of the control plane. What was running when another was killed is taken up when its lease ends."""

    def __init__(self, controller: RolloutController, watches: Sequence[Watch] = ()) -> None:
        self._controller = controller
        self._watches = list(watches)
        self._stop = Event()
        self._threads: dict[str, Thread] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Lead rollouts for as long as the block lasts; they are left where they stand at its end."""
        self._stop.clear()
        loop = Thread(target=self._loop, name="rollouts", daemon=True)
        watch = Thread(target=self._watch, name="watches", daemon=True)
        loop.start()
        watch.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in (loop, watch, *self._threads.values()):
                thread.join(timeout=20)

    def _loop(self) -> None:
        quiet = False
        while not self._stop.wait(POLL_S):
            try:
                for rollout_id in self._controller.store.unfinished():
                    self._lead(rollout_id)
                quiet = False
            except MaestroError as error:
                if not quiet:
                    log.warning("rollouts cannot be listed: %s", error.detail)
                quiet = True

    def _lead(self, rollout_id: str) -> None:
        thread = self._threads.get(rollout_id)
        if thread is not None and thread.is_alive():
            return
        self._threads[rollout_id] = thread = Thread(
            target=self._run, args=(rollout_id,), name=f"rollout-{rollout_id}", daemon=True
        )
        thread.start()

    def _run(self, rollout_id: str) -> None:
        try:
            if self._controller.store.get(rollout_id).state.held:
                return
            self._controller.run(rollout_id, self._stop)
        except MaestroError as error:
            log.warning("rollout %s pauses: %s", rollout_id, error.detail)
        except Exception:  # one rollout's bug must not end the others
            log.exception("rollout %s stopped", rollout_id)
            self._stop.wait(5)

    def _watch(self) -> None:
        while not self._stop.wait(POLL_S):
            for watch in self._watches:
                watch.waited_s += POLL_S
                if watch.waited_s < watch.every_s:
                    continue
                watch.waited_s = 0.0
                try:
                    watch.look()
                except MaestroError as error:
                    log.debug("%s: %s", watch.name, error.detail)
                except Exception:  # a watch looks again
                    log.exception("%s failed", watch.name)
