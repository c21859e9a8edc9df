"""A version that this server has loaded."""

from __future__ import annotations

import asyncio
import time

from maestro.core.contract import ModelContract
from maestro.serving.graph._base import Answer, Call
from maestro.serving.loaded import LoadedVersion
from maestro.serving.runtimes._base import ModelTimeout
from maestro.serving.table import Batch, Prediction

_INLINE_ROWS = 16


class ModelNodeRunner:
    """Validates the rows against the version's contract and asks its runtime.

    A quick runtime answers a small request on the event loop itself; all else goes to the version's own thread, so that one slow model
    cannot keep another waiting.
    """

    def __init__(self, name: str, loaded: LoadedVersion, timeout_s: float) -> None:
        self.name = name
        self.version = loaded.version
        self.loaded = loaded
        self._timeout_s = timeout_s

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """The version's own."""
        return (self.loaded.contract,)

    async def answer(self, call: Call) -> Answer:
        """Predict within the node's timeout."""
        loaded = self.loaded
        batch = loaded.validator.validate(call.table)
        if loaded.runtime.quick and batch.size <= _INLINE_ROWS and not call.offload:
            prediction = loaded.runtime.predict(batch, self._timeout_s)
        else:
            prediction = await self._in_thread(batch)
        return Answer(prediction, self.version, self.name, batch=batch)

    async def _in_thread(self, batch: Batch) -> Prediction:
        deadline = time.monotonic() + self._timeout_s
        runtime = self.loaded.runtime

        def work() -> Prediction:
            left = deadline - time.monotonic()
            if left <= 0:  # the caller has gone: do not make the next one wait for an answer that nobody reads
                raise self._late()
            return runtime.predict(batch, left)

        future = asyncio.get_running_loop().run_in_executor(self.loaded.executor, work)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self._timeout_s)
        except TimeoutError:
            future.add_done_callback(_forget)
            raise self._late() from None

    def _late(self) -> ModelTimeout:
        return ModelTimeout(
            f"node {self.name!r} (version {self.version}) did not answer within {self._timeout_s * 1000:.0f} ms",
            remedy="send fewer rows, or raise timeout_ms of the node",
        )


def _forget(future: asyncio.Future[Prediction]) -> None:
    # Its failure has been reported as a timeout; reading it keeps asyncio from logging it as never retrieved.
    if not future.cancelled():
        future.exception()
