"""Delivers outbox events to those who act on them: at least once, in order, each handler idempotent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from maestro.clients.database import Database
from maestro.clients.database.outbox import append_event, confirm, undelivered
from maestro.core.clock import Clock
from maestro.core.errors import MaestroError, Unreachable
from maestro.core.events import Event

log = logging.getLogger(__name__)

Handler = Callable[[Event], None]
"""Acts on one event. Repeating it changes nothing. A component that is away raises Unreachable: the event is tried again."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0


class Subscriptions:
    """The handlers by event kind.

    An event is confirmed when every handler of its kind has acted. A handler that refuses the event for good (bad input, a bug) is logged
    and told of in an event `<kind>.undeliverable`, so that one bad event cannot hold up those behind it.
    """

    def __init__(self, database: Database, clock: Clock, handlers: Mapping[str, Sequence[Handler]]) -> None:
        self._database = database
        self._clock = clock
        self._handlers = handlers

    def deliver(self) -> int:
        """Deliver what waits; returns the number of events confirmed.

        Raises:
            Unreachable: a component is away; the event and those behind it wait.
        """
        with self._database.read() as connection:
            waiting = undelivered(connection, list(self._handlers))
        for event in waiting:
            failures = [text for handler in self._handlers[event.kind] if (text := self._try(handler, event))]
            with self._database.begin() as connection:
                confirm(connection, event.seq, self._clock.now())
                for text in failures:
                    append_event(
                        connection,
                        kind=f"{event.kind}.undeliverable",
                        subject=event.subject,
                        actor="system:subscriptions",
                        data={"seq": event.seq, "reason": text},
                        at=self._clock.now(),
                        trace=event.trace,
                    )
        return len(waiting)

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set; waits longer while a component is away."""
        pause = _FIRST_PAUSE_S
        while not stop.is_set():
            try:
                self.deliver()
                pause = _FIRST_PAUSE_S
            except Unreachable as error:
                log.warning("delivery waits %.1f s: %s", pause, error.detail)
                pause = min(_LONGEST_PAUSE_S, pause * 2)
            stop.wait(pause)

    def _try(self, handler: Handler, event: Event) -> str | None:
        try:
            handler(event)
        except Unreachable:
            raise
        except MaestroError as error:
            log.error("event %d %s %s: %s", event.seq, event.kind, event.subject, error.detail)
            return error.detail
        except Exception as error:
            log.exception("event %d %s %s", event.seq, event.kind, event.subject)
            return f"{type(error).__name__}: {error}"
        return None
