"""A version that this server has loaded."""

from __future__ import annotations

from maestro.core.contract import ModelContract
from maestro.serving.graph._base import Answer, Call
from maestro.serving.graph.guarded import guarded
from maestro.serving.loaded import LoadedVersion
from maestro.serving.metrics import ServerMetrics
from maestro.serving.runtimes._base import INLINE_ROWS, ModelTimeout
from maestro.serving.table import Batch, Prediction


class ModelNodeRunner:
    """Validates the rows against the version's contract and asks its runtime, behind the version's circuit breaker.

    A quick runtime answers a small request on the event loop itself; all else goes to the version's own thread, so that one slow model
    cannot keep another waiting.
    """

    def __init__(self, name: str, loaded: LoadedVersion, timeout_s: float, metrics: ServerMetrics) -> None:
        self.name = name
        self.version = loaded.version
        self.loaded = loaded
        self.timeout_s = timeout_s
        self.breaker = loaded.breaker
        self._metrics = metrics

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """The version's own."""
        return (self.loaded.contract,)

    async def answer(self, call: Call) -> Answer:
        """Predict within the node's timeout."""
        batch = self.loaded.validator.validate(call.table)
        cache = self.loaded.answers
        if cache is None or not cache.enabled or self.loaded.runtime.quick:
            return Answer(await self._asked(batch, call), self.version, self.name, batch=batch)
        taken = cache.take(self.loaded.digest, batch)
        self._metrics.cache(cache.counts.name, batch.size - len(taken.missing), len(taken.missing))
        if not taken.missing:
            return Answer(cache.known(taken), self.version, self.name, batch=batch)
        fresh = await self._asked(taken.rest(batch), call)
        return Answer(cache.keep(taken, fresh), self.version, self.name, batch=batch)

    async def _asked(self, batch: Batch, call: Call) -> Prediction:
        """The model's own answer, behind the circuit breaker."""
        who = f"node {self.name!r} (version {self.version})"
        return await guarded(self.breaker, who, lambda: self._predict(batch, call))

    async def _predict(self, batch: Batch, call: Call) -> Prediction:
        loaded = self.loaded
        if loaded.runtime.quick and batch.size <= INLINE_ROWS and not call.offload:
            return loaded.runtime.predict(batch, self.timeout_s)
        try:
            return await loaded.batcher.answer(batch, self.timeout_s)
        except ModelTimeout:
            raise ModelTimeout(
                f"node {self.name!r} (version {self.version}) did not answer within {self.timeout_s * 1000:.0f} ms",
                remedy="send fewer rows, or raise timeout_ms of the node",
            ) from None
