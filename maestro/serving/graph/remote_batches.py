"""Requests to one remote node, gathered: those that come while nothing can be sent yet go as one, and the answer is cut up for their callers.

A request is on its way in the turn of the event loop that follows its own, whether or not others have joined it, so that an idle node is asked as soon as ever;
only while all connections carry something does more than a turn's worth gather. What must be a caller's own is never shared: rows in other columns or datatypes,
the context of another trace, a shadow's copy. Nothing else is said of a caller.

A batch is an economy, no promise: unless every row of it has its answer, each of its requests is asked again alone, and what is counted against the node,
its breaker or an arm is what each request got by itself; so it is when the node ends the connection, which one of the rows may have brought about. Only when it
was asked nothing (there is no connection), or has not answered in time, do all of them fail at once. A node that refuses batches whose requests it takes one by
one, or leaves a batch unanswered, gets smaller ones for a while, so that what takes it too long soon costs nobody else's answer (as Clipper backs off:
Crankshaw et al., NSDI 2017); one whose answers change their datatype from request to request gets none, because its answer to several could not be told
from its answer to one.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from maestro.core.errors import MaestroError
from maestro.serving.graph._base import Answer
from maestro.serving.graph.remote_answers import Told, told
from maestro.serving.graph.remote_http import RemoteClient, RemoteUnheard, RemoteUnreached
from maestro.serving.graph.remote_tensors import Column, Tensors, body
from maestro.serving.runtimes._base import ModelFailed, ModelTimeout
from maestro.serving.table import Prediction

log = logging.getLogger(__name__)

MAX_ROWS = 64
"""In one batch; a model on the other side answers as many in one go."""
MAX_BYTES = 2**20
"""In one batch, as its tensors tell it: a few wide rows, or long texts, are as much work as many others. A request that is larger goes alone."""
CALM_S = 60.0
"""After which a node that took only smaller batches is offered larger ones again: it may have been in trouble of another kind."""

Key = tuple[tuple[Column, ...], str | None, bool]


@dataclass(slots=True, eq=False)
class Part:
    """One caller's rows.

    Args:
        deadline: by the event loop's clock.
        done: called once, with the answer or the error; not called for a part that is dropped. It must not raise.
        parent: the `traceparent` to be sent with the rows.
        aside: a copy that nobody waits for, which goes with none that somebody does.
    """

    tensors: Tensors
    deadline: float
    done: Callable[[Answer | MaestroError], None]
    parent: str | None = None
    aside: bool = False
    ended: bool = False
    batch: _Batch | None = None
    trial: _Trial | None = None

    def end(self, outcome: Answer | MaestroError) -> None:
        """Give its caller what came of it."""
        if not self.ended:
            self.ended = True
            self.batch = None  # a circle would be left to the collector
            if self.trial is not None:
                self.trial.ended(isinstance(outcome, Answer))
            self.done(outcome)


@dataclass(slots=True, eq=False)
class _Batch:
    """Parts that go as one; more may join until it is sent."""

    key: Key
    parts: list[Part] = field(default_factory=list)
    rows: int = 0
    size: int = 0
    sealed: bool = False
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None

    def add(self, part: Part, size: int) -> None:
        part.batch = self
        self.parts.append(part)
        self.rows += part.tensors.rows
        self.size += size


@dataclass(slots=True, eq=False)
class _Trial:
    """The parts of a batch that was not answered, asked again alone."""

    left: int
    done: Callable[[], None]
    well: bool = True

    def ended(self, ok: bool) -> None:
        self.left -= 1
        self.well = self.well and ok
        if self.left == 0 and self.well:
            self.done()


class RemoteBatches:
    """Asks one node. Belongs to one event loop.

    Args:
        name: of the node; `who` is what errors call it.
        url: of its `infer` route.
        timeout_s: what errors say of a part that had no answer by its deadline.
        version: of answers that name none.
    """

    def __init__(self, name: str, url: str, timeout_s: float, client: RemoteClient, version: str) -> None:
        self._name = name
        self._url = url
        self._timeout_s = timeout_s
        self._client = client
        self._version = version
        self._open: dict[Key, _Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._limit = 1  # until it is known how it answers one request
        self._larger_at = math.inf  # by the event loop's clock
        self._datatypes: set[str] = set()

    def add(self, part: Part) -> None:
        """Send it on, alone or with others; its `done` is called later, never from here."""
        key = (part.tensors.columns, part.parent, part.aside)
        rows, limit, size = part.tensors.rows, self._limit, part.tensors.most_bytes
        batch = self._open.get(key)
        if batch is None or batch.rows + rows > limit or batch.size + size > MAX_BYTES:
            batch = _Batch(key)
            if 0 < rows < limit and size < MAX_BYTES:
                self._open[key] = batch
            self._start(batch, part, size)
        else:
            batch.add(part, size)

    def drop(self, part: Part) -> None:
        """Its caller has gone; what nobody waits for any more is not asked to its end."""
        part.ended = True
        if part.trial is not None:
            part.trial.ended(ok=False)
        batch = part.batch
        if batch is not None and all(each.ended for each in batch.parts):
            self._abandon(batch)

    def _start(self, batch: _Batch, first: Part, size: int = 0) -> None:
        batch.add(first, size)
        loop = asyncio.get_running_loop()
        batch.timer = loop.call_at(first.deadline, self._late, batch)
        batch.task = task = loop.create_task(self._ask(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, batch: _Batch) -> None:
        parent = batch.key[1]
        headers = (("traceparent", parent),) if parent else ()
        try:
            status, answer = await self._client.post(
                self._url, lambda: self._sealed(batch), timeout_s=None, headers=headers
            )
            found = told(self._who, status, answer, batch.rows)
        except RemoteUnreached as error:
            self._unheard(batch.parts, error)
            return
        except Exception as error:  # what one caller's rows are must not be the others' misfortune
            if len(batch.parts) > 1:
                self._apart(batch.parts)
                return
            if not isinstance(error, RemoteUnheard | ValueError):
                log.exception("%s could not be asked, in a way that nobody foresaw", self._who)
            self._unheard(batch.parts, error)
            return
        finally:
            self._close(batch)
            batch.task = None
            if batch.timer is not None:
                batch.timer.cancel()
                batch.timer = None
        self._give(batch.parts, found)

    def _unheard(self, parts: list[Part], error: Exception) -> None:
        for part in parts:
            part.end(ModelFailed(f"{self._who}: {self._url} cannot be asked: {error}", remedy="look at that server"))

    def _sealed(self, batch: _Batch) -> bytes:
        """The body, now that it can be sent: nothing joins any more, and who has stopped waiting is left out."""
        self._close(batch)
        batch.sealed = True
        batch.parts = [part for part in batch.parts if not part.ended] or batch.parts
        batch.rows = sum(part.tensors.rows for part in batch.parts)
        return body([part.tensors for part in batch.parts])

    def _close(self, batch: _Batch) -> None:
        if self._open.get(batch.key) is batch:
            del self._open[batch.key]

    def _give(self, parts: list[Part], found: Told | MaestroError) -> None:
        if isinstance(found, MaestroError):
            if len(parts) == 1:
                parts[0].end(found)
            else:
                self._apart(parts)
            return
        if len(parts) == 1:
            self._learn(found.datatype)
        elif self._datatypes != {found.datatype}:
            self._apart(parts)
            return
        if self._larger_at <= asyncio.get_running_loop().time():
            self._limit_to(min(MAX_ROWS, self._limit * 2))
        start = 0
        for part in parts:
            end = start + part.tensors.rows
            part.end(self._answer(found, start, end))
            start = end

    def _answer(self, found: Told, start: int, end: int) -> Answer:
        return Answer(Prediction(found.values[start:end]), found.version or self._version, self._name)

    def _learn(self, datatype: str) -> None:
        if len(self._datatypes) > 1 or datatype in self._datatypes:
            return
        self._datatypes.add(datatype)
        self._limit, self._larger_at = MAX_ROWS if len(self._datatypes) == 1 else 1, math.inf

    def _limit_to(self, rows: int) -> None:
        self._limit = rows
        self._larger_at = math.inf if rows == MAX_ROWS else asyncio.get_running_loop().time() + CALM_S

    def _shrink(self, rows: int) -> bool:
        """So many were too many at once; false when fewer are sent by now."""
        if rows > self._limit:
            return False
        self._limit_to(max(1, rows // 2))
        return True

    def _apart(self, parts: list[Part]) -> None:
        waiting = [part for part in parts if not part.ended]
        size, rows = len(waiting), sum(part.tensors.rows for part in parts)

        def smaller() -> None:
            if self._shrink(rows):
                log.warning(
                    "%s takes %d requests only one by one: %d rows at once for a while", self._who, size, self._limit
                )

        trial = _Trial(size, smaller, well=size == len(parts))  # who has gone may have been the one at fault
        for part in waiting:
            part.trial = trial
            self._start(_Batch((part.tensors.columns, part.parent, part.aside)), part)

    def _late(self, batch: _Batch) -> None:
        """End the parts whose time is up, and the batch with the last of them."""
        loop = asyncio.get_running_loop()
        now = loop.time() + 0.001  # timers keep to the millisecond
        for part in batch.parts:
            if part.deadline <= now:
                part.end(
                    ModelTimeout(
                        f"{self._who} ({self._url}) did not answer within {self._timeout_s * 1000:.0f} ms",
                        remedy="look at that server, or raise timeout_ms of the node",
                    )
                )
        waiting = [part.deadline for part in batch.parts if not part.ended]
        if waiting:
            # For these it may yet come; to ask them again would press a node that is perhaps overburdened.
            batch.timer = loop.call_at(min(waiting), self._late, batch)
            return
        if len(batch.parts) > 1 and batch.sealed and self._shrink(batch.rows):
            log.warning(
                "%s left %d requests unanswered: %d rows at once for a while", self._who, len(batch.parts), self._limit
            )
        self._abandon(batch)

    def _abandon(self, batch: _Batch) -> None:
        self._close(batch)
        if batch.timer is not None:
            batch.timer.cancel()
        if batch.task is not None:
            batch.task.cancel()

    @property
    def _who(self) -> str:
        return f"node {self._name!r}"
