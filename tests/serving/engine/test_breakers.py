"""One truth of what is open: the laws of a circuit breaker, for one process and for workers that share the parent's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maestro.serving.breaker import Breaker, CircuitBreaker
from maestro.serving.counters import Bank
from maestro.serving.engine.breakers import BreakerBoard, SharedBreaker, SharedBreakers
from maestro.serving.engine.channel import Channel
from maestro.serving.engine.messages import FAILED, PROBED, TICKET, ProbedMessage

KEY = "sha256:abc"


class Hand:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


class Alone:
    """A breaker asked by two in one process."""

    def __init__(self, folder: Path, hand: Hand) -> None:
        self.truth = Breaker(now=hand)
        self.sides: list[CircuitBreaker] = [self.truth, self.truth]

    async def settle(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is open."""


class Shared:
    """A parent and two workers, each at its end of a real channel, over real shared memory."""

    def __init__(self, folder: Path, hand: Hand) -> None:
        self.truth = Breaker(now=hand)
        self.channels: list[Channel] = []
        attempts = [Bank.of(folder / f"attempts-{slot}") for slot in (0, 1)]
        self.board = BreakerBoard(Bank.of(folder / "breakers"), attempts)
        self.board.show(KEY, self.truth)
        self.sides: list[CircuitBreaker] = [self._worker(folder, slot, hand) for slot in (0, 1)]

    def _worker(self, folder: Path, slot: int, hand: Hand) -> SharedBreaker:
        ours, theirs = socket.socketpair()

        def received(kind: str, number: int, payload: msgspec.Raw) -> None:
            if kind == FAILED:
                self.board.tick()
            elif kind == TICKET:
                parent.reply(number, self.board.ticket(msgspec.msgpack.decode(payload)))
            elif kind == PROBED:
                self.board.probed(msgspec.msgpack.decode(payload, type=ProbedMessage))

        parent = Channel(ours, received, lambda: None)
        channel = Channel(theirs, lambda *told: None, lambda: None)
        self.channels += [parent, channel]
        stands = Bank.of(folder / "breakers").find(("stands", KEY))
        assert stands is not None
        counts = Bank.of(folder / f"attempts-{slot}").cells(("attempts", KEY), 2)
        return SharedBreaker(KEY, stands, counts, channel, now=hand)

    async def settle(self) -> None:
        """What has been told arrives."""
        for _ in range(5):
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)

    def close(self) -> None:
        """End the channels."""
        for channel in self.channels:
            channel.close()


Kind = Callable[[Path, Hand], Any]


def with_kit(kind: Kind, folder: Path, check: Callable[[Any, Hand], Coroutine[Any, Any, None]]) -> None:
    """Run a check on one loop."""

    async def run() -> None:
        hand = Hand()
        kit = kind(folder, hand)
        try:
            await check(kit, hand)
        finally:
            kit.close()

    asyncio.run(run())


async def fail(side: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        side.record(await side.ticket(), ok=False)


@pytest.mark.parametrize("kind", [Alone, Shared], ids=["one process", "workers"])
def test_the_failures_of_all_count_together_and_one_probe_decides_for_all(kind: Kind, tmp_path: Path) -> None:
    async def check(kit: Any, hand: Hand) -> None:
        one, other = kit.sides
        for _ in range(4):
            one.answered()
        await fail(one, 3)
        await kit.settle()
        assert other.state.name == "CLOSED"
        await fail(other, 3)
        await kit.settle()
        assert [side.state.name for side in (one, other, kit.truth)] == ["OPEN"] * 3, (
            "6 of 10 failed, 3 here and 3 there"
        )
        assert await one.ticket() is None
        assert await other.ticket() is None
        assert one.retry_after_s() == pytest.approx(2.0)
        hand.at += 2.0
        assert other.state.name == "HALF_OPEN"
        probe = await other.ticket()
        assert probe is not None
        assert await one.ticket() is None, "one probe at a time, for all"
        other.record(probe, ok=False)
        await kit.settle()
        assert one.state.name == "OPEN"
        assert one.retry_after_s() == pytest.approx(4.0)
        hand.at += 4.0
        probe = await one.ticket()
        one.release(probe)
        await kit.settle()
        probe = await other.ticket()
        assert probe is not None, "what was handed back is free again"
        other.record(probe, ok=True)
        await kit.settle()
        assert [side.state.name for side in (one, other, kit.truth)] == ["CLOSED"] * 3

    with_kit(kind, tmp_path, check)


@pytest.mark.parametrize("kind", [Alone, Shared], ids=["one process", "workers"])
def test_an_attempt_that_began_before_it_opened_decides_nothing(kind: Kind, tmp_path: Path) -> None:
    async def check(kit: Any, hand: Hand) -> None:
        one, other = kit.sides
        slow = await one.ticket()
        await fail(other, 10)
        await kit.settle()
        assert one.state.name == "OPEN"
        one.record(slow, ok=True)
        await kit.settle()
        assert other.state.name == "OPEN"
        hand.at += 2.0
        other.record(await other.ticket(), ok=True)
        await kit.settle()
        one.record(slow, ok=False)
        await kit.settle()
        assert other.state.name == "CLOSED"

    with_kit(kind, tmp_path, check)


@pytest.mark.parametrize("kind", [Alone, Shared], ids=["one process", "workers"])
def test_good_answers_of_long_ago_hide_no_failures(kind: Kind, tmp_path: Path) -> None:
    async def check(kit: Any, hand: Hand) -> None:
        one, other = kit.sides
        for _ in range(5000):
            one.answered()
        if isinstance(kit, Shared):
            kit.board.tick()
        hand.at += 60.0
        await fail(other, 10)
        await kit.settle()
        assert one.state.name == "OPEN"

    with_kit(kind, tmp_path, check)


def test_without_a_parent_nothing_is_probed_and_an_unknown_key_is_guarded_alone(tmp_path: Path) -> None:
    async def check(kit: Any, hand: Hand) -> None:
        one = kit.sides[0]
        await fail(one, 10)
        await kit.settle()
        hand.at += 2.0
        assert isinstance(one, SharedBreaker)
        one._channel.close()
        assert await one.ticket() is None
        known = SharedBreakers(Bank.of(tmp_path / "breakers"), Bank.of(tmp_path / "attempts-1"), kit.channels[-1])
        assert isinstance(known.of("sha256:other"), Breaker)
        assert isinstance(known.of(KEY), SharedBreaker)
        assert known.of(KEY) is known.of(KEY)

    with_kit(Shared, tmp_path, check)
