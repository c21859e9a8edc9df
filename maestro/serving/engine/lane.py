"""Rows of numbers for a model that answers in microseconds: all that arrive in one turn of the event loop are answered by one call.

An idle server answers in the same turn that a request came in; a busy one batches by itself, since more arrives while it answers. The lane is for
what goes well. Whatever does not (a row that breaks the contract, a model that fails, an open breaker) is handed to the data plane, each request alone:
neighbours of a poisoned row are answered, and errors are worded and counted in one place.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from maestro.core.errors import MaestroError
from maestro.observability.tracing import end_span
from maestro.serving.breaker import BreakerState
from maestro.serving.dataplane import InferResult
from maestro.serving.engine import wire
from maestro.serving.engine.ride import Ride, Rows
from maestro.serving.graph._base import NOBODY, Answer, Call
from maestro.serving.graph.arm import Arm
from maestro.serving.graph.model import ModelNodeRunner
from maestro.serving.metrics import ServerMetrics
from maestro.serving.protocols.adapter import Render
from maestro.serving.runtimes import Answers
from maestro.serving.served import ServedGraph
from maestro.serving.table import Batch, Matrix, Prediction, Table

BUDGET_US = 2000.0
"""How long one batch may keep the event loop."""
MAX_ROWS = 256
_CACHED_VALUES = 1024

_encode = msgspec.json.Encoder().encode


class Lane:
    """The requests of one arm that wait for the end of this turn.

    Args:
        call: what a split says of the arm; a plain call without one.
        most: rows in one request; the data plane says so of more.
    """

    def __init__(
        self, served: ServedGraph, arm: Arm, runner: ModelNodeRunner, metrics: ServerMetrics, call: Call, most: int
    ) -> None:
        self.max_rows = min(_most_rows(runner), most)
        self.names = runner.loaded.contract.names
        self._served = served
        self._arm = arm
        self._sampler = arm.sampler
        self._runner = runner
        self._validator = runner.loaded.validator
        self._runtime = runner.loaded.runtime
        self._metrics = metrics
        self._sizes = metrics.rows(served.model)
        self._call = call
        self._waiting: list[Ride] = []
        self._rows = 0
        self._named = (
            (b"x-maestro-version", runner.version.encode("latin-1", "replace")),
            (b"x-maestro-arm", arm.name.encode("latin-1", "replace")),
            (b"x-maestro-revision", str(served.revision).encode()),
        )
        self._beginning = wire.head(200, wire.JSON, self._named)
        self._bodies: dict[Any, bytes] = {}

    def add(self, ride: Ride) -> None:
        """Answer at the end of this turn, or now when the batch is full."""
        count = len(ride.rows)
        if not 0 < count <= self.max_rows or len(ride.units) > 1:
            ride.alone()
            return
        if self._rows + count > self.max_rows:
            self.flush()
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(ride)
        self._rows += count

    def flush(self) -> None:
        """Answer all that wait."""
        rides, self._waiting, self._rows = self._waiting, [], 0
        if not rides:
            return
        found = self._ask(rides)
        if found is None:
            for ride in rides:
                ride.alone()
            return
        batch, answers = found
        now = time.perf_counter()
        sampler = self._sampler
        if sampler is not None and sampler.due <= now:
            self._arm.sample(now, batch, answers.prediction())
        seconds = [now - ride.exchange.started for ride in rides]
        self._arm.counters.answered(seconds)
        self._sizes.observe_all([len(ride.rows) for ride in rides])
        self._metrics.responses(200, seconds)
        values = answers.values.tolist()
        start = 0
        for ride, spent in zip(rides, seconds, strict=True):
            end = start + len(ride.rows)
            if ride.units[0] is not NOBODY or self._call.experiment is not None:
                self._report(ride, batch, values, start, end, spent)
            if ride.render is None:
                ride.exchange.write(self._beginning, self._body(values, start, end))
            else:
                self._render(ride, ride.render, values, answers, start, end)
            if ride.span is not None:
                end_span(ride.span)
            start = end

    def _ask(self, rides: list[Ride]) -> tuple[Batch, Answers] | None:
        breaker = self._runner.breaker
        if breaker.state is not BreakerState.CLOSED:
            return None
        try:
            batch = self._validator.validate(Table(matrix=_matrix(rides)))
            answers = self._runtime.answer(batch, self._runner.timeout_s)
            if len(answers.values) != batch.size:
                return None
        except (MaestroError, ValueError, OverflowError, TypeError, struct.error):
            return None
        breaker.answered()
        return batch, answers

    def _render(self, ride: Ride, render: Render, values: list[Any], answers: Answers, start: int, end: int) -> None:
        scores = None if answers.scores is None else answers.scores[start:end]
        answer = Answer(Prediction(values[start:end], scores), self._runner.version, self._arm.name)
        rendered = render(InferResult(answer, self._served.model, self._served.revision))
        beginning = self._beginning
        if rendered.headers:
            beginning = wire.head(200, rendered.media_type, (*self._named, *rendered.headers))
        ride.exchange.write(beginning, rendered.body)

    def _body(self, values: list[Any], start: int, end: int) -> bytes:
        if end - start > 1:
            return _encode({"predictions": values[start:end]})
        value = values[start]
        if type(value) is not int and type(value) is not str:
            return _encode({"predictions": [value]})
        body = self._bodies.get(value)
        if body is None:
            body = _encode({"predictions": [value]})
            if len(self._bodies) < _CACHED_VALUES:
                self._bodies[value] = body
        return body

    def _report(self, ride: Ride, batch: Batch, values: list[Any], start: int, end: int, seconds: float) -> None:
        matrix = None if batch.matrix is None else batch.matrix[start:end]
        rows = Batch(batch.names, batch.types, end - start, matrix)
        self._arm.report(self._call, ride.units, "ok", seconds, Prediction(values[start:end]), rows)


def _most_rows(runner: ModelNodeRunner) -> int:
    runtime, rows = runner.loaded.runtime, 16
    while rows < MAX_ROWS and runtime.cost_us(rows * 2) <= BUDGET_US:
        rows *= 2
    return rows


def _matrix(rides: Sequence[Ride]) -> Matrix:
    if len(rides) == 1:
        return _array(rides[0].rows)
    rows: list[list[float]] = []
    parts: list[Matrix] = []
    for ride in rides:
        if isinstance(ride.rows, list):
            rows += ride.rows
        else:
            parts.append(ride.rows)
    if not parts:
        return _array(rows)
    return np.concatenate([_array(ride.rows) for ride in rides])


def _array(rows: Rows) -> Matrix:
    if not isinstance(rows, list):
        return rows
    width = len(rows[0])
    if {len(row) for row in rows} != {width}:
        raise ValueError("rows differ in width")
    # Half the time that NumPy takes to look at every number by itself.
    packed = struct.pack(f"{width * len(rows)}d", *chain.from_iterable(rows))
    return np.frombuffer(packed).reshape(len(rows), width)
