"""Batches for a model that the event loop must not wait for: while it answers one, the next gathers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from maestro.core.errors import MaestroError, TooManyRequests
from maestro.serving.runtimes._base import ModelFailed, ModelRuntime, ModelTimeout
from maestro.serving.table import Batch, Prediction

MAX_ROWS = 1024


@dataclass(slots=True, eq=False)
class _Part:
    batch: Batch
    deadline: float
    answered: asyncio.Future[Prediction] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher:
    """Asks a runtime for all requests that wait at once, in a thread; an idle one is asked at once for the first that comes.

    A batch that fails is asked again request by request, so that only the one at fault fails. A request whose caller has stopped waiting is not asked.

    Args:
        executor: one thread.
        limit: requests that may wait; more are refused.
    """

    def __init__(self, runtime: ModelRuntime, executor: Executor, *, limit: int) -> None:
        self._runtime = runtime
        self._executor = executor
        self._limit = limit
        self._waiting: deque[_Part] = deque()
        self._busy = False

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    async def answer(self, batch: Batch, timeout_s: float) -> Prediction:
        """One value a row.

        Raises:
            TooManyRequests: too many wait.
            ModelTimeout: no answer in time.
            ModelFailed: the model failed on these rows.
        """
        if len(self._waiting) >= self._limit:
            raise TooManyRequests(
                f"{self._limit} requests wait for the model", remedy="send fewer at once, or add servers", retry_after=1
            )
        part = _Part(batch, time.monotonic() + timeout_s)
        self._waiting.append(part)
        if not self._busy:
            self._start()
        try:
            return await asyncio.wait_for(part.answered, timeout_s)
        except TimeoutError:
            raise ModelTimeout(
                f"the model did not answer within {timeout_s * 1000:.0f} ms", remedy="raise timeout_ms"
            ) from None

    def _start(self) -> None:
        parts: list[_Part] = []
        rows = 0
        now = time.monotonic()
        while self._waiting and (not parts or rows + self._waiting[0].batch.size <= MAX_ROWS):
            part = self._waiting.popleft()
            if part.answered.done() or part.deadline <= now:
                continue
            parts.append(part)
            rows += part.batch.size
        if not parts:
            self._busy = False
            return
        self._busy = True
        loop = asyncio.get_running_loop()
        try:
            work = loop.run_in_executor(self._executor, self._ask, parts)
        except RuntimeError:  # it is being closed
            self._busy = False
            for part in parts:
                part.answered.set_exception(ModelFailed("the model is closed", remedy="ask again"))
            return
        work.add_done_callback(lambda done: self._done(parts, done))

    def _done(self, parts: list[_Part], done: asyncio.Future[list[Prediction | MaestroError]]) -> None:
        failure = None if done.cancelled() else done.exception()
        for position, part in enumerate(parts):
            if part.answered.done():
                continue
            outcome = (
                ModelFailed(f"the model failed: {failure or 'it is closed'}", remedy="see the server's log")
                if failure is not None or done.cancelled()
                else done.result()[position]
            )
            if isinstance(outcome, MaestroError):
                part.answered.set_exception(outcome)
            else:
                part.answered.set_result(outcome)
        self._start()

    def _ask(self, parts: list[_Part]) -> list[Prediction | MaestroError]:
        if len(parts) > 1:
            try:
                whole = self._runtime.predict(joined([part.batch for part in parts]), _left(parts))
            except ModelTimeout as error:
                return [error] * len(parts)
            except MaestroError:
                return [self._alone(part) for part in parts]
            return _shares(whole, parts)
        return [self._alone(parts[0])]

    def _alone(self, part: _Part) -> Prediction | MaestroError:
        try:
            return self._runtime.predict(part.batch, _left([part]))
        except MaestroError as error:
            return error


def joined(batches: list[Batch]) -> Batch:
    """The rows of several batches of one contract, in order."""
    first = batches[0]
    columns = None
    if first.columns is not None:
        columns = tuple(
            np.concatenate([batch.column(position) for batch in batches]) for position in range(len(first.names))
        )
    matrix = (
        None
        if first.matrix is None
        else np.concatenate([batch.matrix for batch in batches if batch.matrix is not None])
    )
    return Batch(first.names, first.types, sum(batch.size for batch in batches), matrix, columns)


def _left(parts: list[_Part]) -> float:
    return max(max(part.deadline for part in parts) - time.monotonic(), 0.001)


def _shares(whole: Prediction, parts: list[_Part]) -> list[Prediction | MaestroError]:
    shares: list[Prediction | MaestroError] = []
    start = 0
    for part in parts:
        end = start + part.batch.size
        scores = None if whole.scores is None else whole.scores[start:end]
        shares.append(Prediction(whole.values[start:end], scores))
        start = end
    return shares
