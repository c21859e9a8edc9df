"""A model elsewhere, asked over the Open Inference Protocol (REST, version 2)."""

from __future__ import annotations

import asyncio

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, MaestroError
from maestro.observability.tracing import traceparent
from maestro.serving.breaker import BreakerState, CircuitBreaker
from maestro.serving.graph._base import Answer, Call
from maestro.serving.graph.guarded import guarded
from maestro.serving.graph.remote_batches import Part, RemoteBatches
from maestro.serving.graph.remote_http import RemoteClient
from maestro.serving.graph.remote_tensors import tensors

UNKNOWN_VERSION = "remote"


class RemoteRunner:
    """Sends the rows as one FP64 tensor, or as one tensor a column when a value is not a number; with those of other requests where that is the same to all.

    Args:
        url: `http://host/v2/models/NAME[/versions/VERSION]`.
        client: shared.
        breaker: of that server, shared by all who ask it.
        version: what metrics call it; the answer's own `model_version` is what callers see.
    """

    def __init__(
        self,
        name: str,
        url: str,
        timeout_s: float,
        client: RemoteClient,
        breaker: CircuitBreaker,
        version: str = UNKNOWN_VERSION,
    ) -> None:
        self.name = name
        self.version = version
        self.timeout_s = timeout_s
        self.breaker = breaker
        self._url = url.rstrip("/") + "/infer"
        self.batches = RemoteBatches(name, self._url, timeout_s, client, version)

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """None here: the other server holds the contract."""
        return ()

    async def answer(self, call: Call) -> Answer:
        """Ask, within the node's timeout, unless that server has failed too often."""
        ended = call.ended
        if ended is not None and ended.node == self.name:
            raise await self._counted(ended.error, call)
        return await guarded(self.breaker, f"node {self.name!r} ({self._url})", lambda: self._ask(call))

    async def _counted(self, error: MaestroError, call: Call) -> MaestroError:
        if isinstance(error, BadInput):
            error.field = call.table.where
        elif (
            self.breaker.state is BreakerState.CLOSED
        ):  # after a change of state what was asked before it counts for nothing
            self.breaker.record(await self.breaker.ticket(), ok=False)
        return error

    async def _ask(self, call: Call) -> Answer:
        sent = tensors(call.table)
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Answer | MaestroError] = loop.create_future()
        deadline = loop.time() + self.timeout_s
        part = Part(sent, deadline, lambda found: _settle(outcome, found), traceparent(), call.offload)
        self.batches.add(part)
        try:
            found = await outcome
        except asyncio.CancelledError:
            self.batches.drop(part)
            raise
        if isinstance(found, Answer):
            return found
        if isinstance(found, BadInput):
            found.field = call.table.where
        raise found


def _settle(outcome: asyncio.Future[Answer | MaestroError], found: Answer | MaestroError) -> None:
    if not outcome.done():  # its caller may have gone a moment ago
        outcome.set_result(found)
