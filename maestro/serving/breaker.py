"""Circuit breaker: a component that keeps failing is not asked until it has had time to recover."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

_BUCKETS = 10


class BreakerState(IntEnum):
    """The values of `maestro_breaker_state`."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class CircuitBreaker(Protocol):
    """What stands between callers and a component that may fail.

    Obligations: `ticket` gives None when the attempt must not be made; every ticket is handed to `record` or `release` once; `answered` says that an
    attempt went well while the state was CLOSED, without a ticket, and costs next to nothing; none of them raises. It belongs to one event loop.
    """

    @property
    def state(self) -> BreakerState:
        """The state now."""
        ...

    def answered(self) -> None:
        """An attempt went well while it was closed."""
        ...

    async def ticket(self) -> int | None:
        """A ticket to make one attempt; None when it must not be made."""
        ...

    def record(self, ticket: int | None, *, ok: bool) -> None:
        """Say how an attempt ended."""
        ...

    def release(self, ticket: int | None) -> None:
        """Hand a ticket back: the attempt was not made, or says nothing about the component."""
        ...

    def retry_after_s(self) -> float:
        """Seconds until an attempt may be let through."""
        ...


class Breaker:
    """Closed, it lets everything through; open, nothing; half open, a few probes that decide.

    It opens when, within a sliding window, at least `volume` attempts ended and at least `share` of them failed. After `cool_down_s` it is
    half open: `probes` attempts are let through, and when all of them succeed it closes; the first that fails opens it again, for twice as
    long, up to `longest_s`. A probe that never reports (its caller went away) is replaced after `cool_down_s`. Attempts that were let through
    before a change of state count for nothing after it.

    The machine is pure: it does no I/O, holds no lock and knows time only through `now`. One instance belongs to one thread or event loop.
    Source of the pattern: Nygard, "Release It!", chapter 5.

    Args:
        volume: attempts in the window before their failures count.
        share: failures among attempts, 0 to 1.
        window_s: length of the window in seconds.
        cool_down_s: how long it stays open the first time, in seconds.
        probes: attempts that must succeed for it to close.
        longest_s: the longest it stays open, in seconds.
        now: a monotonic clock in seconds.

    >>> at = [0.0]
    >>> breaker = Breaker(volume=2, cool_down_s=5.0, now=lambda: at[0])
    >>> for _ in range(2):
    ...     breaker.record(breaker.admit(), ok=False)
    >>> breaker.state.name, breaker.admit() is None, breaker.retry_after_s()
    ('OPEN', True, 5.0)
    >>> at[0] = 5.0
    >>> breaker.record(breaker.admit(), ok=True)
    >>> breaker.state.name
    'CLOSED'
    """

    def __init__(
        self,
        *,
        volume: int = 10,
        share: float = 0.5,
        window_s: float = 10.0,
        cool_down_s: float = 2.0,
        probes: int = 1,
        longest_s: float = 60.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if volume < 1 or probes < 1 or not 0.0 < share <= 1.0 or window_s <= 0 or not 0 < cool_down_s <= longest_s:
            raise ValueError("volume, probes ≥ 1, 0 < share ≤ 1, window_s > 0 and 0 < cool_down_s ≤ longest_s")
        self._volume, self._share, self._probes = volume, share, probes
        self._width = window_s / _BUCKETS
        self._cool_down_s, self._longest_s = cool_down_s, longest_s
        self._now = now
        self._epoch = 0
        self._open_s = cool_down_s
        self._until = 0.0
        self._probing: list[float] = []
        self._passed = 0
        self._state = BreakerState.CLOSED
        self._clear()

    @property
    def state(self) -> BreakerState:
        """The state now; an open breaker whose time is up is half open."""
        if self._state is BreakerState.OPEN and self._now() >= self._until:
            return BreakerState.HALF_OPEN
        return self._state

    def admit(self) -> int | None:
        """A ticket to make one attempt, to be handed to `record` or `release`; None when the attempt must not be made."""
        if self._state is BreakerState.CLOSED:
            return self._epoch
        now = self._now()
        if self._state is BreakerState.OPEN:
            if now < self._until:
                return None
            self._enter(BreakerState.HALF_OPEN)
        self._probing = [started for started in self._probing if now - started < self._cool_down_s]
        if self._passed + len(self._probing) >= self._probes:
            return None
        self._probing.append(now)
        return self._epoch

    async def ticket(self) -> int | None:
        """As `admit`."""
        return self.admit()

    def answered(self) -> None:
        """An attempt went well while it was closed."""
        if self._state is BreakerState.CLOSED:
            self._count(1, 0)

    def ended(self, ok: int, failed: int) -> None:
        """Attempts that others made while it was closed, and how they ended; in any other state they count for nothing."""
        if self._state is BreakerState.CLOSED and ok + failed > 0:
            self._count(ok + failed, failed)
            if failed:
                self._judge()

    @property
    def epoch(self) -> int:
        """How often the state has changed: the ticket of a closed breaker."""
        return self._epoch

    @property
    def told(self) -> tuple[BreakerState, float]:
        """The state as it was last entered, and until when an open one stays open, by its clock."""
        return self._state, self._until

    def record(self, ticket: int | None, *, ok: bool) -> None:
        """Say how an attempt ended. A ticket of an earlier state, or None, counts for nothing."""
        if ticket is None or ticket != self._epoch:
            return
        if self._state is BreakerState.HALF_OPEN:
            if not ok:
                self._open_s = min(self._open_s * 2, self._longest_s)
                self._open()
                return
            if self._probing:
                self._probing.pop(0)
            self._passed += 1
            if self._passed >= self._probes:
                self._open_s = self._cool_down_s
                self._enter(BreakerState.CLOSED)
            return
        self._count(1, not ok)
        if not ok:
            self._judge()

    def release(self, ticket: int | None) -> None:
        """Hand a ticket back unused: the attempt was not made, or says nothing about the component (rows at fault)."""
        if ticket is not None and ticket == self._epoch and self._probing:
            self._probing.pop()

    def retry_after_s(self) -> float:
        """Seconds until an attempt may be let through; 0 when one may be now."""
        return max(0.0, self._until - self._now()) if self._state is BreakerState.OPEN else 0.0

    def _judge(self) -> None:
        attempts, failures = sum(self._ended), sum(self._failed)
        if attempts >= self._volume and failures >= self._share * attempts:
            self._open()

    def _open(self) -> None:
        self._until = self._now() + self._open_s
        self._enter(BreakerState.OPEN)

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._epoch += 1
        self._passed = 0
        self._probing = []
        self._clear()

    def _clear(self) -> None:
        self._ended = [0] * _BUCKETS
        self._failed = [0] * _BUCKETS
        self._latest = int(self._now() / self._width)

    def _count(self, attempts: int, failures: int) -> None:
        slot = int(self._now() / self._width)
        if slot > self._latest:
            for passed in range(max(self._latest + 1, slot - _BUCKETS + 1), slot + 1):
                self._ended[passed % _BUCKETS] = self._failed[passed % _BUCKETS] = 0
            self._latest = slot
        self._ended[slot % _BUCKETS] += attempts
        if failures:
            self._failed[slot % _BUCKETS] += failures
