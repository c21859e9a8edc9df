"""One connection: requests are read as they come, run at once, and answered in their order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools

from maestro.serving.engine import wire
from maestro.serving.engine.head import MAX_HEAD, MAX_HEADERS, MAX_TARGET, Head, Unreadable, read_head

if TYPE_CHECKING:
    from maestro.serving.engine.door import Door

MAX_PIPELINED = 64
"""Requests of one connection that may wait for their answers; the socket is not read while there are more."""
MAX_DRAINED = 256 * 2**20
"""Bytes of an oversized body that are read and thrown away so that the caller hears why it is refused."""
_HEAD_END = b"\r\n\r\n"


class Exchange:
    """A request whose answer is owed."""

    __slots__ = ("connection", "head", "payload", "started")

    def __init__(self, connection: Connection, head: Head, started: float) -> None:
        self.connection = connection
        self.head = head
        self.started = started
        self.payload: bytes | None = None

    @property
    def gone(self) -> bool:
        """Whether the caller has closed the connection."""
        return self.connection.transport is None

    def reply(self, status: int, media_type: bytes, body: bytes, headers: wire.Headers = ()) -> None:
        """Answer."""
        self.write(wire.head(status, media_type, headers), body)

    def write(self, beginning: bytes, body: bytes) -> None:
        """Answer with a head that is written already."""
        connection, head = self.connection, self.head
        if connection.last is self or connection.door.draining:
            connection.last = connection.last or self
            token = wire.CLOSE
        else:
            token = wire.KEEP if head.version == "1.0" else b""
        connection.send(self, wire.answer(beginning, body, connection=token, bodiless=head.method == "HEAD"))


class Connection(asyncio.Protocol):
    """A socket of the data port. Its door sends requests on and tells it when its time is up.

    A head that has been read once is known by its bytes: callers repeat themselves, and equal bytes mean the same. httptools reads all others, bodies
    in chunks, and whatever arrives in parts.
    """

    __slots__ = (
        "_body", "_drained", "_headers", "_parser", "_queue", "_reading", "_received", "_refusal", "_size", "_target",
        "began", "door", "head", "last", "paused", "since", "transport", "waiting_to_write",
    )  # fmt: skip

    def __init__(self, door: Door) -> None:
        self.door = door
        self.transport: asyncio.Transport | None = None
        self.last: Exchange | None = None  # nothing is read after it, and the connection ends with its answer
        self.paused = False
        self.waiting_to_write = False
        self.since = 0.0
        self.began = 0.0
        self.head: Head | None = None
        self._parser: Any = None
        self._queue: deque[Exchange] = deque()
        self._reading = False  # a request has begun and not ended
        self._refusal: Unreadable | None = None
        self._reset()

    def _reset(self) -> None:
        self.head = None
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._received = 0
        self._size = 0
        self._drained = False
        self._body: list[bytes] = []

    @property
    def peer(self) -> str:
        """The caller's address; empty on a local socket."""
        name = None if self.transport is None else self.transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) and name else ""

    @property
    def idle(self) -> bool:
        """Whether nothing is owed and nothing has begun."""
        return not self._queue and not self._reading

    @property
    def reading(self) -> bool:
        """Whether a request has begun and not ended."""
        return self._reading

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Welcome."""
        self.transport = transport  # type: ignore[assignment]  # asyncio gives a Transport to a Protocol
        self.since = time.perf_counter()
        self.door.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The answers that are owed have nobody to go to; what runs is let finish, so that it is counted."""
        self.transport = None
        self.door.closed(self)
        self._queue.clear()

    def pause_writing(self) -> None:
        """The caller does not read: nor do we."""
        self.waiting_to_write = True
        self.since = time.perf_counter()
        self._regulate()

    def resume_writing(self) -> None:
        """It reads again."""
        self.waiting_to_write = False
        self._regulate()

    def eof_received(self) -> bool:
        """The caller has no more to send; what is owed is still answered."""
        if self._reading or not self._queue:
            return False
        self.last = self._queue[-1]
        return True

    def data_received(self, data: bytes) -> None:
        """Read whole requests by their known heads, everything else with the parser."""
        if self.last is not None:
            return
        self.since = started = time.perf_counter()
        if not self._reading:
            heads, start, end = self.door.heads, 0, len(data)
            while True:
                stop = data.find(_HEAD_END, start)
                if stop < 0:
                    break
                stop += 4
                head = heads.get(data[start:stop])
                if head is None or stop + head.length > end:  # type: ignore[operator]  # only heads with a length are remembered
                    break
                after = stop + head.length  # type: ignore[operator]
                self._accept(head, data[stop:after], started)
                start = after
                if start == end or self.last is not None:
                    return
            if start:
                data = data[start:]
        self._feed(data, started)

    def send(self, exchange: Exchange, payload: bytes) -> None:
        """Write an answer when its turn has come."""
        queue = self._queue
        transport = self.transport
        if transport is None or not queue:
            return
        if queue[0] is not exchange:
            exchange.payload = payload
            return
        transport.write(payload)
        queue.popleft()
        done = exchange
        while queue and queue[0].payload is not None:
            done = queue.popleft()
            transport.write(done.payload)  # type: ignore[arg-type]  # the condition above
        if self.last is done:
            self._end()
            return
        if self.paused:
            self._regulate()
        if not queue:
            self.since = time.perf_counter()
            if self.head is not None and self.head.expects:
                self._continue()

    def refuse(self, status: int, detail: str) -> None:
        """Answer what cannot be read, after what is owed, and end."""
        self._refused(Unreadable(status, detail), time.perf_counter())

    def close(self) -> None:
        """End now; what is owed is lost."""
        if self.transport is not None:
            self.transport.close()

    def _end(self) -> None:
        # A caller that still sends would lose the answer to a reset: its half is read for a moment longer.
        transport = self.transport
        if transport is None:
            return
        if self._drained or self._refusal is not None:
            if transport.can_write_eof():
                transport.write_eof()
            self.door.linger(self)
        else:
            transport.close()

    def _accept(self, head: Head, body: bytes, started: float) -> None:
        exchange = Exchange(self, head, started)
        self._queue.append(exchange)
        if not head.keep_alive:
            self.last = exchange
        self.door.answer(exchange, body)
        if len(self._queue) > MAX_PIPELINED:
            self._regulate()

    def _regulate(self) -> None:
        transport = self.transport
        if transport is None:
            return
        full = self.waiting_to_write or len(self._queue) > MAX_PIPELINED
        if full and not self.paused:
            self.paused = True
            transport.pause_reading()
        elif self.paused and not full:
            self.paused = False
            transport.resume_reading()

    def _feed(self, data: bytes, started: float) -> None:
        fresh = not self._reading
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        if self.head is None:
            self._received += len(data)
        try:
            self._parser.feed_data(data)
            if self._reading and self.head is None and self._received > MAX_HEAD + MAX_TARGET:
                raise Unreadable(431, f"the head is longer than {MAX_HEAD} bytes")
        except httptools.HttpParserUpgrade:
            # The protocol that it would rather speak is not spoken here: it gets its answer in this one, and nothing that follows is read.
            return
        except Unreadable as error:
            self._refused(error, started)
            return
        except httptools.HttpParserError as error:
            refusal = self._refusal or Unreadable(400, f"the request is not HTTP/1.1: {str(error)[:120]}")
            self._refused(refusal, started)
            return
        if fresh and not self._reading:
            self._remember(data)
        elif self._reading and self.head is not None and self.head.expects and not self._queue:
            self._continue()

    def _remember(self, data: bytes) -> None:
        stop = data.find(_HEAD_END) + 4
        head = self.door.latest
        if stop > 3 and head is not None and head.length is not None and stop + head.length == len(data):
            self.door.remember(data[:stop], head)

    def _refused(self, error: Unreadable, started: float) -> None:
        if self._refusal is not None and self.last is not None:
            return
        self._refusal = error
        head = Head("GET", "", "", "1.1", {}, 0, keep_alive=False)
        exchange = Exchange(self, head, started)
        self._queue.append(exchange)
        self.last = exchange
        self.door.unreadable(exchange, error)

    def _continue(self) -> None:
        if self.transport is not None and self.head is not None:
            self.head.expects = False
            if self.head.length is None or self.head.length <= self.door.max_body:
                self.transport.write(wire.CONTINUE)

    # What httptools calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        received = self._received
        self._reset()
        self._received = received
        self._reading = True
        self.began = time.perf_counter()

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._target += url
        if len(self._target) > MAX_TARGET:
            self._stop(Unreadable(414, f"the target is longer than {MAX_TARGET} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer."""
        self._size += len(name) + len(value)
        if self._size > MAX_HEAD or len(self._headers) >= MAX_HEADERS:
            self._stop(Unreadable(431, f"there are more than {MAX_HEADERS} headers or {MAX_HEAD} bytes of them"))
        if self.head is None:  # what follows a body in chunks is nobody's instruction
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        parser = self._parser
        try:
            self.head = head = read_head(
                parser.get_method(),
                self._target,
                parser.get_http_version(),
                self._headers,
                parser.should_keep_alive() and not parser.should_upgrade(),
            )
        except Unreadable as error:
            self._stop(error)
        self._size = 0
        if head.length is not None and head.length > self.door.max_body:
            if head.expects or head.length > MAX_DRAINED:
                self._stop(Unreadable(413, f"the body is larger than {self.door.max_body} bytes"))
            self._drained = True

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._size += len(body)
        if self._size > self.door.max_body:
            self._drained = True
            self._body.clear()
            if self._size > MAX_DRAINED:
                self._stop(Unreadable(413, f"the body is larger than {self.door.max_body} bytes"))
        elif not self._drained:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        head, body = self.head, self._body
        if head is None:
            return
        self._reading = False
        if self._drained:
            self._stop(Unreadable(413, f"the body is larger than {self.door.max_body} bytes"))
        self._received = 0
        self.head = None
        self._body = []
        self.door.latest = head
        if self.last is None:
            self._accept(head, body[0] if len(body) == 1 else b"".join(body), time.perf_counter())

    def _stop(self, error: Unreadable) -> None:
        self._refusal = error
        raise error
