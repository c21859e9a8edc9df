"""Look-ups by entity: one call for all who wait, remembered for a while, given up in time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from maestro.core.errors import BadInput, MaestroError, NotFound, Unreachable
from maestro.serving.breaker import Breaker
from maestro.serving.caches.features import MAX_PARTS, FeatureLookup, Features


class Store:
    """Knows the even ids; `gate` keeps a call waiting, `error` makes it fail, `told` is said instead."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.told: Sequence[Features | MaestroError] | None = None

    def get(self, feature_service: str, entity_rows: list[dict[str, Any]]) -> Sequence[Features | MaestroError]:
        self.calls.append([row["id"] for row in entity_rows])
        self.gate.wait(5)
        if self.error is not None:
            raise self.error
        if self.told is not None:
            return self.told[: len(entity_rows)]
        if any(not 0 <= row["id"] < 2**63 for row in entity_rows):
            raise BadInput("an id is no key", field="entities")
        return [{"x": float(row["id"]) if row["id"] % 2 == 0 else None} for row in entity_rows]


Scenario = Callable[[FeatureLookup, Store], Coroutine[Any, Any, None]]


def run(scenario: Scenario, **fields: Any) -> None:
    store = Store()

    async def whole() -> None:
        with ThreadPoolExecutor(1) as executor:
            lookup = FeatureLookup(
                store, executor, **({"timeout_s": 2.0, "max_bytes": 100_000, "ttl_s": 60.0} | fields)
            )
            try:
                await scenario(lookup, store)
            finally:
                store.gate.set()
                lookup.close()

    asyncio.run(whole())


def ids(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": number} for number in numbers]


def test_what_is_remembered_is_not_asked_again() -> None:
    async def scenario(lookup: FeatureLookup, store: Store) -> None:
        assert await lookup.rows("s", ids(2, 4, 2)) == [{"x": 2.0}, {"x": 4.0}, {"x": 2.0}]
        assert await lookup.rows("s", ids(4, 6)) == [{"x": 4.0}, {"x": 6.0}]
        assert store.calls == [[2, 4], [6]]
        assert (lookup.counts.hits, lookup.counts.misses) == (1, 3)
        await lookup.rows("other", ids(2))
        assert store.calls[-1] == [2], "another service's features are others"

    run(scenario)


def test_unknown_entities_are_asked_again() -> None:
    async def scenario(lookup: FeatureLookup, store: Store) -> None:
        for _ in range(2):
            assert await lookup.rows("s", ids(3)) == [{"x": None}]
        assert store.calls == [[3], [3]]

    run(scenario)


def test_requests_that_wait_go_together() -> None:
    async def scenario(lookup: FeatureLookup, store: Store) -> None:
        store.gate.clear()
        first = asyncio.create_task(lookup.rows("s", ids(2)))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(lookup.rows("s", ids(n, 100))) for n in range(10, 60, 2)]
        await asyncio.sleep(0.01)
        store.gate.set()
        assert await first == [{"x": 2.0}]
        for number, other in zip(range(10, 60, 2), others, strict=True):
            assert await other == [{"x": float(number)}, {"x": 100.0}]
        assert [len(call) for call in store.calls] == [1, 26], "each entity once"

    run(scenario)


def test_a_store_that_is_slow_costs_its_own_timeout_and_opens_the_breaker() -> None:
    async def scenario(lookup: FeatureLookup, store: Store) -> None:
        await lookup.rows("s", ids(8))
        store.gate.clear()
        for number in (2, 4):
            started = time.monotonic()
            with pytest.raises(Unreachable, match=r"within 0\.05 s"):
                await lookup.rows("s", ids(number))
            assert time.monotonic() - started < 0.5
        assert lookup.breaker.state.name == "OPEN"
        started = time.monotonic()
        with pytest.raises(Unreachable, match="too often") as caught:
            await lookup.rows("s", ids(6))
        assert time.monotonic() - started < 0.04
        assert caught.value.problem()["retry_after"] >= 1
        assert await lookup.rows("s", ids(8)) == [{"x": 8.0}], "what is remembered is still given"
        store.gate.set()
        await asyncio.sleep(0.15)
        assert await lookup.rows("s", ids(10)) == [{"x": 10.0}]
        assert lookup.breaker.state.name == "CLOSED"

    run(scenario, timeout_s=0.05, breaker=Breaker(volume=2, share=0.6, cool_down_s=0.1))


def test_a_failure_names_the_store_and_a_request_at_fault_is_no_failure_of_the_store() -> None:
    async def scenario(lookup: FeatureLookup, store: Store) -> None:
        store.error = RuntimeError("no such table")
        with pytest.raises(Unreachable, match="RuntimeError: no such table"):
            await lookup.rows("s", ids(2))
        store.error = NotFound("no service s")
        for _ in range(5):
            with pytest.raises(NotFound):
                await lookup.rows("s", ids(2))
        assert lookup.breaker.state.name == "CLOSED"

    run(scenario, breaker=Breaker(volume=2, share=0.6))


def test_whoever_asks_for_what_can_be_no_key_is_refused_alone() -> None:
    async def scenario(lookup: FeatureLookup, store: Store) -> None:
        store.gate.clear()
        first = asyncio.create_task(lookup.rows("s", ids(2)))
        await asyncio.sleep(0.01)
        others = {
            n: asyncio.create_task(lookup.rows("s", ids(n, 100))) for n in (*range(10, 40, 2), -1, *range(40, 60, 2))
        }
        await asyncio.sleep(0.01)
        store.gate.set()
        assert await first == [{"x": 2.0}]
        with pytest.raises(BadInput, match="no key"):
            await others.pop(-1)
        for number, other in others.items():
            assert await other == [{"x": float(number)}, {"x": 100.0}]
        assert len(store.calls) < 15
        assert lookup.breaker.state.name == "CLOSED"
        store.calls.clear()
        with pytest.raises(BadInput):
            await lookup.rows("s", ids(*range(-500, 0)))
        assert len(store.calls) <= 2 * MAX_PARTS

    run(scenario)


def test_nobody_is_told_of_anothers_fault() -> None:
    """With too many at fault to be told apart, the others may ask again; none of them is told to correct what is right."""

    async def scenario(lookup: FeatureLookup, store: Store) -> None:
        store.gate.clear()
        first = asyncio.create_task(lookup.rows("s", ids(2)))
        await asyncio.sleep(0.01)
        asked = {n: asyncio.create_task(lookup.rows("s", ids(n))) for pair in range(1, 101) for n in (-pair, 2 * pair)}
        await asyncio.sleep(0.01)
        store.gate.set()
        await first
        outcomes = dict(zip(asked, await asyncio.gather(*asked.values(), return_exceptions=True), strict=True))
        for number, outcome in outcomes.items():
            if number < 0:
                assert isinstance(outcome, BadInput | Unreachable)
            elif isinstance(outcome, BaseException):
                assert isinstance(outcome, Unreachable)
            else:
                assert outcome == [{"x": float(number)}]
        assert sum(isinstance(outcome, BadInput) for outcome in outcomes.values()) >= 5
        assert len(store.calls) <= 2 * MAX_PARTS + 1

    run(scenario)


def test_what_a_store_says_of_one_entity_is_that_ones() -> None:
    async def scenario(lookup: FeatureLookup, store: Store) -> None:
        told: list[Features | MaestroError] = [{"x": 2.0}, BadInput("no key"), Unreachable("ask again")]
        store.told = told
        assert await lookup.each("s", ids(2, -1, 4)) == told
        assert await lookup.rows("s", ids(2)) == [{"x": 2.0}]
        with pytest.raises(BadInput, match="no key"):
            await lookup.rows("s", [*reversed(ids(2, -1, 4))])
        assert [len(call) for call in store.calls] == [3, 2], "no error is remembered, and no call taken apart"

    run(scenario)


def test_a_service_that_is_unknown_is_asked_for_once() -> None:
    async def scenario(lookup: FeatureLookup, store: Store) -> None:
        store.error = NotFound("no service s")
        with pytest.raises(NotFound):
            await lookup.rows("s", ids(*range(100)))
        assert len(store.calls) == 1

    run(scenario)


def test_text_counts_for_what_is_remembered() -> None:
    async def scenario(lookup: FeatureLookup, store: Store) -> None:
        store.told = [{"word": "w" * 5_000}]  # type: ignore[dict-item]  # features may be text
        for number in range(10):
            await lookup.rows("s", ids(number))
        assert await lookup.rows("s", ids(0)) == store.told
        assert len(store.calls) == 11, "the first was forgotten"

    run(scenario, max_bytes=20_000)


def test_a_caller_who_goes_away_takes_nobody_with_him() -> None:
    async def scenario(lookup: FeatureLookup, store: Store) -> None:
        store.gate.clear()
        gone = asyncio.create_task(lookup.rows("s", ids(2)))
        stays = asyncio.create_task(lookup.rows("s", ids(2)))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0.01)
        store.gate.set()
        assert await stays == [{"x": 2.0}]

    run(scenario)
