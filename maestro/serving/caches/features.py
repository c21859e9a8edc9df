"""Features by entity: remembered, looked up together, within their own time and behind their own circuit breaker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Protocol

from maestro.core.errors import BadInput, MaestroError, NotFound, Unreachable
from maestro.serving.breaker import Breaker
from maestro.serving.caches.lru import CacheCounts, Lru

NAME = "feature"
Features = dict[str, float | None]
_Key = tuple[Any, ...]

MAX_PARTS = 32
"""Calls in which a refused one is taken apart."""


class OnlineStore(Protocol):
    """Where features come from: as `maestro.serving.feature_sources.FeatureSource`."""

    def get(self, feature_service: str, entity_rows: list[dict[str, Any]]) -> Sequence[Features | MaestroError]:
        """Look up."""
        ...


@dataclass(slots=True)
class _Waiting:
    """Entities of one service that wait for the next call."""

    rows: dict[_Key, dict[str, Any]] = field(default_factory=dict)
    done: asyncio.Future[dict[_Key, Features | MaestroError]] | None = None


class FeatureLookup:
    """Asks the online store for what it does not remember.

    While one call to the store is under way, the entities of further requests gather and go in the next call together, each once. A
    call that takes longer than `timeout_s` fails its requests and is a failure for the breaker; while the breaker is open, what is not
    remembered fails at once. A call that the store refuses for the sake of an entity is taken apart, so that only whoever asked for that
    one is refused; where there are too many of them to be told apart, the rest are to ask again. An entity that the store does not know is not remembered. Loop-local.

    Args:
        executor: where the blocking calls run; one thread.
        timeout_s: for one request, waiting for an earlier call included, in seconds.
        max_bytes: of what is remembered; 0 remembers nothing.
        ttl_s: age in seconds from which on features are looked up anew: how stale an answer may be.
        max_rows: entities in one call.
    """

    def __init__(
        self,
        store: OnlineStore,
        executor: Executor,
        *,
        timeout_s: float,
        max_bytes: int,
        ttl_s: float,
        max_rows: int = 1000,
        breaker: Breaker | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.breaker = breaker or Breaker(now=now)
        self._store = store
        self._executor = executor
        self._timeout_s = timeout_s
        self._max_rows = max_rows
        self._known: Lru[_Key, Features] = Lru(NAME, max_bytes=max_bytes, ttl_s=ttl_s, now=now)
        self._waiting: dict[str, _Waiting] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._busy = False
        self.calls = 0

    @property
    def counts(self) -> CacheCounts:
        """Entities answered from memory, and entities that were not."""
        return self._known.counts

    @property
    def enabled(self) -> bool:
        """Whether it can remember anything."""
        return self._known.enabled

    async def rows(self, service: str, entities: Sequence[dict[str, Any]]) -> list[Features]:
        """One mapping an entity, in order.

        Raises:
            Unreachable: the store does not answer in time, fails, or has failed so often that it is not asked.
            NotFound: the store does not know the service.
            BadInput: an entity can be no key of the service.
        """
        return answered(await self.each(service, entities))

    async def each(self, service: str, entities: Sequence[dict[str, Any]]) -> list[Features | MaestroError]:
        """One mapping an entity, in order, or the error that this one got.

        Raises:
            Unreachable, NotFound: as `rows`.
        """
        keys = [(service, *sorted(entity.items())) for entity in entities]
        found: dict[_Key, Features | MaestroError] = {}
        missing: dict[_Key, dict[str, Any]] = {}
        for key, entity in zip(keys, entities, strict=True):
            if key in found or key in missing:
                continue
            known = self._known.get(key)
            if known is None:
                missing[key] = entity
            else:
                found[key] = known
        if missing:
            found |= await self._ask(service, missing)
        return [found[key] for key in keys]

    def close(self) -> None:
        """Stop waiting for the store."""
        for task in self._running:
            task.cancel()

    async def _ask(self, service: str, missing: dict[_Key, dict[str, Any]]) -> dict[_Key, Features | MaestroError]:
        ticket = self.breaker.admit()
        if ticket is None:
            raise self._failed(
                "has failed too often and is not asked", retry_after=max(1, round(self.breaker.retry_after_s()))
            )
        loop = asyncio.get_running_loop()
        waits: list[asyncio.Future[dict[_Key, Features | MaestroError]]] = []
        for key, entity in missing.items():
            batch = self._waiting.setdefault(service, _Waiting())
            if len(batch.rows) >= self._max_rows:
                self._start(service)
                batch = self._waiting.setdefault(service, _Waiting())
            if batch.done is None:
                batch.done = loop.create_future()
                batch.done.add_done_callback(_heard)
            batch.rows[key] = entity
            if not waits or waits[-1] is not batch.done:
                waits.append(batch.done)
        if not self._busy:
            self._start(service)
        try:
            async with asyncio.timeout(self._timeout_s):
                # Shielded: others wait for the same answer.
                parts = [await asyncio.shield(wait) for wait in waits]
        except TimeoutError:
            self.breaker.record(ticket, ok=False)
            raise self._failed(f"did not answer within {self._timeout_s:g} s") from None
        except asyncio.CancelledError:
            self.breaker.release(ticket)
            raise
        except Unreachable:
            self.breaker.record(ticket, ok=False)
            raise
        except MaestroError:
            self.breaker.record(ticket, ok=True)  # it answered: the request is at fault
            raise
        self.breaker.record(ticket, ok=True)
        return {key: part[key] for part in parts for key in missing.keys() & part.keys()}

    def _start(self, service: str) -> None:
        batch = self._waiting.pop(service)
        self._busy = True
        task = asyncio.get_running_loop().create_task(self._call(service, batch))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _call(self, service: str, batch: _Waiting) -> None:
        assert batch.done is not None  # noqa: S101 - made with the first row
        try:
            rows = await self._told(service, list(batch.rows.items()))
        except MaestroError as error:
            batch.done.set_exception(error)
        except asyncio.CancelledError:
            batch.done.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever the store's library raises, the component that failed is the store
            batch.done.set_exception(self._failed(f"failed: {type(error).__name__}: {str(error)[:200]}"))
        else:
            for key, row in rows.items():
                if isinstance(row, dict) and any(value is not None for value in row.values()):
                    self._known.put(key, row, size=_size(key, row))
            batch.done.set_result(rows)
        finally:
            self._busy = False
            if self._waiting:
                self._start(next(iter(self._waiting)))

    async def _told(
        self, service: str, asked: list[tuple[_Key, dict[str, Any]]]
    ) -> dict[_Key, Features | MaestroError]:
        """What the store says of each; a refused call is halved until whoever is at fault stands alone."""
        rows: dict[_Key, Features | MaestroError] = {}
        waiting, parts = [asked], 0
        while waiting:
            part = waiting.pop()
            parts += 1
            try:
                answers = await self._answers(service, [entity for _, entity in part])
            except NotFound:
                raise  # the service, whoever is asked for
            except BadInput as error:
                if len(part) == 1:
                    rows[part[0][0]] = error
                elif parts < MAX_PARTS:
                    half = len(part) // 2
                    waiting += [part[half:], part[:half]]
                else:
                    rows |= dict.fromkeys((key for key, _ in part), self._failed("refused others in the same call"))
            else:
                rows |= zip((key for key, _ in part), answers, strict=True)
        return rows

    async def _answers(self, service: str, entities: list[dict[str, Any]]) -> Sequence[Features | MaestroError]:
        self.calls += 1
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(self._executor, self._store.get, service, entities)
        if len(answers) != len(entities):
            raise self._failed(f"gave {len(answers)} rows for {len(entities)} entities")
        return answers

    def _failed(self, how: str, **extra: Any) -> Unreachable:
        return Unreachable(
            f"the feature store {how}",
            remedy="apply and materialise the feature repository, and ask again",
            component="feature store",
            **extra,
        )


def answered(told: Sequence[Features | MaestroError]) -> list[Features]:
    """The features of all entities of a request.

    Raises:
        MaestroError: one has none. What is wrong with the request is said before what is wrong with the store.
    """
    refused = [row for row in told if isinstance(row, MaestroError)]
    if refused:
        raise next((error for error in refused if isinstance(error, BadInput)), refused[0])
    return [row for row in told if not isinstance(row, MaestroError)]


def _size(key: _Key, row: Features) -> int:
    # A dictionary of n entries takes some 100 bytes an entry with its number; names are shared with the store's own.
    values: Iterable[Any] = row.values()
    text = sum(len(value) for value in values if isinstance(value, str))
    return 64 + sum(48 + len(str(part)) for part in key) + 232 + 104 * len(row) + text


def _heard(done: asyncio.Future[Any]) -> None:
    # Everyone who waited may have gone: reading the failure keeps asyncio from logging it as never retrieved.
    if not done.cancelled():
        done.exception()
