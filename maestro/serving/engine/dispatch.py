"""From a request to what answers it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from maestro.core.errors import MaestroError, Malformed
from maestro.observability.tracing import Span, open_span, parse_traceparent, sampling, tracing, within
from maestro.serving.auth import ServerAuth
from maestro.serving.dataplane import DataPlane, InferRequest, InferResult
from maestro.serving.engine import wire
from maestro.serving.engine.connection import Exchange
from maestro.serving.engine.control import Control, ControlRequest
from maestro.serving.engine.head import Head, Unreadable
from maestro.serving.engine.lanes import Lanes
from maestro.serving.engine.packed import unpacked
from maestro.serving.engine.rate import RateLimit
from maestro.serving.engine.ride import Ride
from maestro.serving.graph._base import NOBODY, Call, Unit
from maestro.serving.protocols.adapter import Adapter, Asked, Hot, Render, asked, problem_headers
from maestro.serving.protocols.mlflow_invocations import InvocationsAdapter
from maestro.serving.protocols.number_rows import NumberRows
from maestro.serving.protocols.open_inference import OpenInferenceAdapter
from maestro.serving.protocols.predict import PredictAdapter, named
from maestro.serving.served import ServedGraph
from maestro.serving.table import Table

log = logging.getLogger(__name__)

_PROBLEMS = {
    404: "Not found", 408: "Request timeout", 413: "Input too large", 414: "Target too long", 417: "Expectation failed",
    431: "Head too large", 505: "HTTP version not supported",
}  # fmt: skip
_encode = msgspec.json.Encoder().encode

TRACED = 0.01
"""Of the requests whose callers have not decided for their trace, how many are traced, unless OpenTelemetry's variables say otherwise."""


class Dispatch:
    """Answers the exchanges of a door.

    Args:
        control: answers what is no inference.
        rate: how often one caller may ask; None as often as it likes.
        rows: reads large bodies of numbers.
    """

    def __init__(
        self,
        plane: DataPlane,
        auth: ServerAuth,
        control: Control,
        rate: RateLimit | None = None,
        rows: NumberRows | None = None,
    ) -> None:
        self.plane = plane
        self.auth = auth
        self.rate = rate
        self._control = control
        self._tasks: set[asyncio.Task[None]] = set()
        self._predict = PredictAdapter(rows)
        self._invocations = InvocationsAdapter(rows)
        self._open_inference = OpenInferenceAdapter(rows)

    def answer(self, exchange: Exchange, body: bytes) -> None:
        """Send a request on; equal heads are looked at once."""
        head = exchange.head
        route: Callable[[Exchange, bytes], None] | None = head.state
        if route is None:
            route = head.state = self._route(head)
        route(exchange, body)

    def unreadable(self, exchange: Exchange, error: Unreadable) -> None:
        """Say why a request was not read."""
        document = {
            "type": Malformed("").problem()["type"] if error.status == 400 else "about:blank",
            "title": _PROBLEMS.get(error.status, "Malformed input"),
            "status": error.status,
            "detail": error.detail,
            "remedy": "send a well-formed request"
            if error.status != 413
            else "send fewer rows in one request, or raise MAESTRO_SERVING__MAX_BODY_BYTES",
        }
        self.plane.metrics.response(error.status, time.perf_counter() - exchange.started)
        exchange.reply(error.status, wire.PROBLEM, _encode(document))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that answers an exchange later."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def control(self, exchange: Exchange, body: bytes) -> None:
        """Answer what is no inference."""
        self.spawn(self._controlled(exchange, body))

    async def _controlled(self, exchange: Exchange, body: bytes) -> None:
        head = exchange.head
        try:
            answer = await self._control.answer(ControlRequest(head.method, head.path, head.query, head.raw, body))
        except Exception:
            log.exception("%s %s failed in a way that nobody foresaw", head.method, head.path)
            error = MaestroError("the server failed", remedy="see the server's log")
            exchange.reply(500, wire.PROBLEM, _encode(error.problem()))
            return
        exchange.reply(answer.status, answer.media_type, answer.body, answer.headers)

    def _route(self, head: Head) -> Callable[[Exchange, bytes], None]:
        found = self._adapter(head.path)
        if found is None:
            return self.control
        adapter, path = found
        if head.method != "POST":
            return _wrong_method
        coding = head.headers.get("content-encoding", "").strip().lower()
        if coding and coding != "identity":
            return PackedInference(self, adapter, head, path, coding)
        return Inference(self, adapter, head, path)

    def _adapter(self, path: str) -> tuple[Adapter, Mapping[str, str]] | None:
        if path == "/predict":
            return self._predict, {}
        if path == "/invocations":
            return self._invocations, {}
        if path.startswith("/v2/models/") and path.endswith("/infer"):
            parts = path.split("/")[3:-1]
            if len(parts) == 1 and parts[0]:
                return self._open_inference, {"model": parts[0]}
            if len(parts) == 3 and parts[1] == "versions" and parts[0] and parts[2]:
                return self._open_inference, {"model": parts[0], "version": parts[2]}
        return None


def _wrong_method(exchange: Exchange, body: bytes) -> None:
    document = {
        "type": "about:blank",
        "title": "Method not allowed",
        "status": 405,
        "detail": f"{exchange.head.method} {exchange.head.path}: Method Not Allowed",
    }
    exchange.reply(405, wire.PROBLEM, _encode(document), ((b"allow", b"POST"),))


class Inference:
    """One inference route as one head asks for it."""

    def __init__(self, dispatch: Dispatch, adapter: Adapter, head: Head, path: Mapping[str, str]) -> None:
        self._dispatch = dispatch
        self._plane = dispatch.plane
        self._adapter = adapter
        self._authorization = head.headers.get("authorization")
        self._caller = parse_traceparent(head.headers.get("traceparent"))
        self._asked = Asked("")
        self._refusal: MaestroError | None = None
        try:
            self._asked = asked(head.headers, adapter.media_types, path, head.queries)
        except MaestroError as error:
            self._refusal = error

    def __call__(self, exchange: Exchange, body: bytes) -> None:
        """Answer now what a lane takes, the rest when the data plane has."""
        dispatch = self._dispatch
        try:
            dispatch.auth.data(self._authorization)
            if dispatch.rate is not None:
                dispatch.rate.admit(self._authorization or exchange.connection.peer)
            if self._refusal is not None:
                raise self._refusal
        except MaestroError as error:
            self._refuse(exchange, error)
            return
        span = self._span(exchange) if tracing() and sampling.of(self._caller) else None
        hot = self._adapter.hot(body, self._asked)
        if hot is None or not self._ride(exchange, body, hot, span):
            self._later(exchange, body, None, span)

    def _ride(self, exchange: Exchange, body: bytes, hot: Hot, span: Span | None) -> bool:
        """Whether a lane has taken the request."""
        plane = self._plane
        graphs = plane.graphs
        served = (
            graphs.get(hot.model)
            if hot.model is not None
            else next(iter(graphs.values()))
            if len(graphs) == 1
            else None
        )
        if served is None:
            return False
        lanes: Lanes | None = served.lanes
        if lanes is None:
            lanes = served.lanes = Lanes(served, plane)
        units: tuple[Unit, ...] = (NOBODY,)
        try:
            if hot.entities is not None or hot.context or self._asked.context:
                context = named(self._asked.context, hot.context)
                units = plane.units(InferRequest(hot.model, None, hot.entities, context), served)
        except MaestroError:
            return False
        lane, draw = lanes.choose(units)
        if lane is None or (hot.names is not None and hot.names != lane.names):
            if draw is not None:
                self._later(exchange, body, draw, span)
            return draw is not None
        lane.add(
            Ride(
                exchange,
                hot.rows,
                units,
                hot.render,
                lambda: self._later(exchange, body, draw, span),
                span,
                lambda ended: self._instead(exchange, body, served, Call(Table(), units, draw=draw, ended=ended)),
            )
        )
        return True

    def _span(self, exchange: Exchange) -> Span:
        parent, path = exchange.head.headers.get("traceparent"), exchange.head.path
        return open_span("predict", parent=parent, kind="server", attributes={"url.path": path}, sampled=True)

    def _later(self, exchange: Exchange, body: bytes, draw: str | None, span: Span | None) -> None:
        answer = self._alone(exchange, body, draw)
        self._dispatch.spawn(answer if span is None else _inside(span, answer))

    async def _alone(self, exchange: Exchange, body: bytes, draw: str | None) -> None:
        async def ask() -> tuple[InferResult, Render]:
            request, render = self._adapter.read(body, self._asked)
            return await self._plane.infer(request if draw is None else replace(request, draw=draw)), render

        await self._answer(exchange, ask)

    def _instead(self, exchange: Exchange, body: bytes, served: ServedGraph, call: Call) -> None:
        """Answer a request whose node has failed, on the graph to which it was given: it is still under way."""
        metrics = self._plane.metrics

        async def ask() -> tuple[InferResult, Render]:
            try:
                request, render = self._adapter.read(body, self._asked)
                table = request.table or call.table
                metrics.batch(served.model, len(table))
                answer = await served.root.answer(replace(call, table=table))
                return InferResult(answer, served.model, served.revision), render
            finally:
                metrics.inflight -= 1
                served.inflight -= 1

        metrics.inflight += 1
        served.inflight += 1
        self._dispatch.spawn(self._answer(exchange, ask))

    async def _answer(self, exchange: Exchange, ask: Callable[[], Awaitable[tuple[InferResult, Render]]]) -> None:
        try:
            result, render = await ask()
            rendered = render(result)
        except MaestroError as error:
            self._refuse(exchange, error)
            return
        except Exception:
            log.exception("a request failed in a way that nobody foresaw")
            self._refuse(exchange, MaestroError("the server failed", remedy="see the server's log"))
            return
        self._plane.metrics.response(200, time.perf_counter() - exchange.started)
        exchange.reply(200, rendered.media_type, rendered.body, (*_headers(result), *rendered.headers))

    def _refuse(self, exchange: Exchange, error: MaestroError) -> None:
        status, document = self._adapter.problem(error)
        self._plane.metrics.response(status, time.perf_counter() - exchange.started)
        exchange.reply(status, wire.PROBLEM, _encode(document), problem_headers(error))


class PackedInference(Inference):
    """The same for bodies that come compressed."""

    def __init__(self, dispatch: Dispatch, adapter: Adapter, head: Head, path: Mapping[str, str], coding: str) -> None:
        super().__init__(dispatch, adapter, head, path)
        self._coding = coding

    def __call__(self, exchange: Exchange, body: bytes) -> None:
        """Unpack what an admitted caller has sent, and answer."""
        try:
            self._dispatch.auth.data(self._authorization)
            body = unpacked(body, self._coding, exchange.connection.door.max_body)
        except MaestroError as error:
            self._refuse(exchange, error)
            return
        super().__call__(exchange, body)


async def _inside(span: Span, work: Coroutine[Any, Any, None]) -> None:
    """Work in an open span, which goes on to remote nodes, and end it."""
    with within(span):
        await work


def _headers(result: InferResult) -> list[tuple[bytes, bytes]]:
    answer = result.answer
    headers = [
        (b"x-maestro-version", answer.version.encode("latin-1", "replace")),
        (b"x-maestro-arm", answer.arm.encode("latin-1", "replace")),
        (b"x-maestro-revision", str(result.revision).encode()),
    ]
    if answer.fallback is not None:
        headers.append((b"x-maestro-fallback", answer.fallback.encode("latin-1", "replace")))
    if answer.reward_id is not None:
        headers.append((b"x-maestro-reward-id", answer.reward_id.encode("latin-1", "replace")))
    return headers
