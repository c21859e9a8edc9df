"""Rows of numbers for a model elsewhere: sent on without a task of their own, and answered when the answer is here.

As with a model in this process the lane is for what goes well, and the data plane words and counts the rest. But a node that was asked and failed is not asked
again: the request goes to the graph together with that failure, which counts there, once, and lets another arm stand in.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from itertools import chain
from typing import Any

import msgspec

from maestro.core.errors import MaestroError
from maestro.serving.breaker import BreakerState
from maestro.serving.dataplane import DataPlane, InferResult
from maestro.serving.engine import wire
from maestro.serving.engine.ride import Ride, Rows
from maestro.serving.graph._base import NOBODY, Answer, Call, Ended
from maestro.serving.graph.arm import Arm
from maestro.serving.graph.remote import RemoteRunner
from maestro.serving.graph.remote_batches import MAX_ROWS, Part
from maestro.serving.graph.remote_tensors import Tensors, positional
from maestro.serving.served import ServedGraph

log = logging.getLogger(__name__)

_KNOWN_VERSIONS = 64
_encode = msgspec.json.Encoder().encode


class RemoteLane:
    """The requests of one arm that is a remote node.

    Args:
        call: what a split says of the arm; a plain call without one.
    """

    names: tuple[str, ...] | None = None

    def __init__(self, served: ServedGraph, arm: Arm, runner: RemoteRunner, plane: DataPlane, call: Call) -> None:
        self._served = served
        self._arm = arm
        self._runner = runner
        self._plane = plane
        self._most = min(MAX_ROWS, plane.max_rows)
        self._metrics = plane.metrics
        self._sizes = plane.metrics.rows(served.model)
        self._call = call
        self._beginnings: dict[str, bytes] = {}

    def add(self, ride: Ride) -> None:
        """Send it on, unless there is something to be said about it; a request that is traced takes its context along, so it goes by the data plane."""
        runner = self._runner
        sent = _sent(ride.rows, self._most)
        if (
            sent is None
            or ride.span is not None
            or len(ride.units) > 1
            or runner.breaker.state is not BreakerState.CLOSED
            or self._plane.full
        ):
            ride.alone()
            return
        self._metrics.inflight += 1
        self._served.inflight += 1
        deadline = asyncio.get_running_loop().time() + runner.timeout_s
        runner.batches.add(Part(sent, deadline, lambda outcome: self._ended(ride, outcome)))

    def _ended(self, ride: Ride, outcome: Answer | MaestroError) -> None:
        self._metrics.inflight -= 1
        self._served.inflight -= 1
        if not isinstance(outcome, Answer):
            ride.instead(Ended(self._arm.name, outcome, ride.exchange.started))
            return
        try:
            self._answer(ride, outcome)
        except Exception:
            log.exception("a request failed in a way that nobody foresaw")
            error = MaestroError("the server failed", remedy="see the server's log")
            ride.exchange.reply(error.status, wire.PROBLEM, wire.problem(error))

    def _answer(self, ride: Ride, answer: Answer) -> None:
        self._runner.breaker.answered()
        arm, now = self._arm, time.perf_counter()
        seconds = (now - ride.exchange.started,)
        arm.counters.answered(seconds)
        self._sizes.observe(len(ride.rows))
        arm.sample(now, None, answer.prediction)
        if ride.units[0] is not NOBODY or self._call.experiment is not None:
            arm.report(self._call, ride.units, "ok", seconds[0], answer.prediction, None)
        beginning = self._beginning(answer.version)
        if ride.render is None:
            body = _encode({"predictions": answer.prediction.values})
        else:
            rendered = ride.render(InferResult(answer, self._served.model, self._served.revision))
            body = rendered.body
            if rendered.headers:
                beginning = wire.head(200, rendered.media_type, (*self._named(answer.version), *rendered.headers))
        self._metrics.responses(200, seconds)
        ride.exchange.write(beginning, body)

    def _beginning(self, version: str) -> bytes:
        beginning = self._beginnings.get(version)
        if beginning is None:
            beginning = wire.head(200, wire.JSON, self._named(version))
            if len(self._beginnings) < _KNOWN_VERSIONS:
                self._beginnings[version] = beginning
        return beginning

    def _named(self, version: str) -> tuple[tuple[bytes, bytes], ...]:
        return (
            (b"x-maestro-version", version.encode("latin-1", "replace")),
            (b"x-maestro-arm", self._arm.name.encode("latin-1", "replace")),
            (b"x-maestro-revision", str(self._served.revision).encode()),
        )


def _sent(rows: Rows, most: int) -> Tensors | None:
    """The rows as they are sent; None when that is not to be decided here."""
    count = len(rows)
    if not 0 < count <= most:
        return None
    values: list[Any]
    if not isinstance(rows, list):
        width, values = rows.shape[1], rows.ravel().tolist()
    else:
        width = len(rows[0])
        values = rows[0] if count == 1 else list(chain.from_iterable(rows))
        if count > 1 and any(len(row) != width for row in rows):
            return None
    if not width or not math.isfinite(sum(values)):
        return None
    return positional(width, count, values)
