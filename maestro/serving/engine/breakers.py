"""Circuit breakers that several processes share: the parent's are the only ones, workers count for them and keep to them.

How a breaker stands lies in memory that every process maps, so that a request through a closed breaker asks nobody. A worker counts its attempts in memory of its
own; the parent adds them up every `TICK_S`, and at once when it is told of a failure. While a breaker is not closed every attempt is the parent's to give.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from maestro.serving.breaker import Breaker, BreakerState
from maestro.serving.counters import Bank, Cells, Key
from maestro.serving.engine.messages import FAILED, PROBED, TICKET, ProbedMessage

if TYPE_CHECKING:
    from maestro.serving.engine.channel import Channel

TICK_S = 1.0
"""Between two counts: the window in which failures are weighed against attempts is ten times as long."""
STANDS, ATTEMPTS = "stands", "attempts"
_ticket: msgspec.msgpack.Decoder[int | None] = msgspec.msgpack.Decoder(int | None)


class BreakerBoard:
    """The parent's side: how each breaker stands, written where workers read it.

    Args:
        bank: this process writes it.
        others: the banks in which workers count their attempts.
    """

    def __init__(self, bank: Bank, others: Iterable[Bank]) -> None:
        self._bank = bank
        self._others = list(others)
        self._breakers: dict[str, tuple[Breaker, Cells]] = {}
        self._counted: dict[Key, tuple[float, float]] = {}

    def show(self, key: str, breaker: Breaker) -> None:
        """Have workers keep to a breaker; called before they are told of what it guards."""
        self._breakers[key] = (breaker, self._bank.cells((STANDS, key), 3))
        self._write(key)

    def tick(self) -> None:
        """Count what workers have attempted since."""
        attempted: dict[str, list[float]] = {}
        for bank in self._others:
            for row, counts in bank.rows():
                sums = attempted.setdefault(row[1], [0.0, 0.0])
                sums[0] += counts[0]
                sums[1] += counts[1]
        for key, (ok, failed) in attempted.items():
            before = self._counted.get((key,), (0.0, 0.0))
            self._counted[(key,)] = (ok, failed)
            if key in self._breakers:
                self._breakers[key][0].ended(int(ok - before[0]), int(failed - before[1]))
                self._write(key)

    def ticket(self, key: str) -> int | None:
        """A ticket for a worker's attempt; None when it must not be made."""
        found = self._breakers.get(key)
        if found is None:
            return None
        given = found[0].admit()
        self._write(key)
        return given

    def probed(self, told: ProbedMessage) -> None:
        """How such an attempt ended."""
        found = self._breakers.get(told.key)
        if found is None:
            return
        if told.ok is None:
            found[0].release(told.ticket)
        else:
            found[0].record(told.ticket, ok=told.ok)
        self._write(told.key)

    def _write(self, key: str) -> None:
        breaker, cells = self._breakers[key]
        state, until = breaker.told
        cells[1], cells[2] = until, float(breaker.epoch)
        cells[0] = float(state)  # last: who reads another state than CLOSED asks


class SharedBreaker:
    """A worker's side of one breaker.

    Args:
        stands: the parent's row: state, until when it stays open, how often it has changed.
        attempts: this worker's row: went well, failed.
        now: the monotonic clock that all processes share.
    """

    def __init__(
        self,
        key: str,
        stands: Cells,
        attempts: Cells,
        channel: Channel,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key
        self._stands = stands
        self._attempts = attempts
        self._channel = channel
        self._now = now

    @property
    def state(self) -> BreakerState:
        """As the parent says; an open one whose time is up is half open."""
        state = self._stands[0]
        if state == 0.0:
            return BreakerState.CLOSED
        if state == float(BreakerState.OPEN) and self._now() < self._stands[1]:
            return BreakerState.OPEN
        return BreakerState.HALF_OPEN

    def answered(self) -> None:
        """Count it."""
        self._attempts[0] += 1.0

    async def ticket(self) -> int | None:
        """Its own while closed, the parent's while half open."""
        state = self.state
        if state is BreakerState.CLOSED:
            return int(self._stands[2])
        if state is BreakerState.OPEN:
            return None
        try:
            return _ticket.decode(await self._channel.ask(TICKET, self._key))
        except Exception:  # noqa: BLE001 - without the parent nothing is probed
            return None

    def record(self, ticket: int | None, *, ok: bool) -> None:
        """Count what was begun while closed; tell the parent of anything else, and of failures at once."""
        if ticket is None:
            return
        if self._stands[0] != 0.0 or ticket != int(self._stands[2]):
            self._tell(PROBED, ProbedMessage(self._key, ticket, ok))
        elif ok:
            self._attempts[0] += 1.0
        else:
            self._attempts[1] += 1.0
            self._tell(FAILED, self._key)

    def release(self, ticket: int | None) -> None:
        """Hand it back."""
        if ticket is not None and self._stands[0] != 0.0:
            self._tell(PROBED, ProbedMessage(self._key, ticket, None))

    def retry_after_s(self) -> float:
        """Seconds until the parent may give an attempt."""
        return max(0.0, self._stands[1] - self._now()) if self.state is BreakerState.OPEN else 0.0

    def _tell(self, kind: str, payload: Any) -> None:
        self._channel.tell(kind, payload)


class SharedBreakers:
    """The breakers of one worker.

    Args:
        stands: the bank that the parent writes.
        attempts: the bank that this worker writes.
    """

    def __init__(self, stands: Bank, attempts: Bank, channel: Channel) -> None:
        self._stands = stands
        self._attempts = attempts
        self._channel = channel
        self._known: dict[str, SharedBreaker | Breaker] = {}

    def of(self, key: str) -> SharedBreaker | Breaker:
        """The breaker of a version's digest or a remote node's address; one of this process's own where the parent has no room for more."""
        found = self._known.get(key)
        if found is None:
            stands = self._stands.find((STANDS, key))
            if stands is None:
                found = Breaker()
            else:
                found = SharedBreaker(key, stands, self._attempts.cells((ATTEMPTS, key), 2), self._channel)
            self._known[key] = found
        return found
