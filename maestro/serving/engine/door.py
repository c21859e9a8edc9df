"""The connections of one process: welcomed, watched, and ended gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Protocol

from maestro.serving.engine.connection import Connection, Exchange
from maestro.serving.engine.head import Head, Unreadable

log = logging.getLogger(__name__)

GRACE_S = 0.5
"""After the end has been announced, how long a connection with nothing under way stays open: its caller may just be sending."""
LINGER_S = 2.0
_SWEEP_S = 0.5
_HEADS = 1024
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class Patience:
    """How long a caller may take, in seconds.

    Args:
        idle: between two requests.
        head: for a head, from its first byte.
        body: for a whole request, from its first byte.
        reading: to take up what was written for it.
    """

    idle: float = 75.0
    head: float = 10.0
    body: float = 60.0
    reading: float = 30.0


class Answering(Protocol):
    """What answers requests; called on the event loop, must not block it, and answers each exchange exactly once."""

    def answer(self, exchange: Exchange, body: bytes) -> None:
        """Answer a request."""
        ...

    def unreadable(self, exchange: Exchange, error: Unreadable) -> None:
        """Answer what is no request."""
        ...


class Door:
    """Listens on sockets of one event loop.

    Args:
        answering: who answers.
        max_body: bytes of a body.
        max_connections: more are closed at once.
    """

    def __init__(
        self,
        answering: Answering,
        *,
        max_body: int,
        max_connections: int = 20_000,
        patience: Patience | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.max_body = max_body
        self.draining = False
        self.heads: dict[bytes, Head] = {}
        self.latest: Head | None = None
        self.answer = answering.answer
        self.unreadable = answering.unreadable
        self._patience = patience or Patience()
        self._max_connections = max_connections
        self._tls = tls
        self._connections: set[Connection] = set()
        self._lingering: dict[Connection, float] = {}
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def listen(self, sock: socket.socket) -> None:
        """Take connections of a socket that is bound."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), sock=sock, backlog=4096, ssl=self._tls)
        self._servers.append(server)
        if self._sweeper is None:
            self._sweeper = loop.create_task(self._sweep())

    def remember(self, data: bytes, head: Head) -> None:
        """Know these bytes as this head from now on."""
        if len(data) <= _HEAD_BYTES:
            if len(self.heads) >= _HEADS:
                self.heads.clear()
            self.heads[data] = head

    def opened(self, connection: Connection) -> None:
        """A caller has come."""
        if len(self._connections) >= self._max_connections:
            connection.close()
            return
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """A caller has gone."""
        self._connections.discard(connection)
        self._lingering.pop(connection, None)

    def linger(self, connection: Connection) -> None:
        """Close a connection when its caller has, or soon."""
        self._lingering[connection] = time.perf_counter() + LINGER_S

    async def drain(self, timeout_s: float) -> None:
        """Take no more connections, answer what is under way, end."""
        self.draining = True
        for server in self._servers:
            server.close()
        began = time.perf_counter()
        while self._connections and (waited := time.perf_counter() - began) < timeout_s:
            for connection in list(self._connections):
                if connection.idle and waited > GRACE_S:
                    connection.close()
            await asyncio.sleep(0.02)
        if self._connections:
            log.warning("%d connections are closed in mid-request after %.0f s", len(self._connections), timeout_s)
        for connection in list(self._connections):
            connection.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.perf_counter()
            for connection in list(self._connections):
                self._look_at(connection, now)
            for connection, until in list(self._lingering.items()):
                if now > until:
                    connection.close()

    def _look_at(self, connection: Connection, now: float) -> None:
        patience = self._patience
        if connection.waiting_to_write:
            if now - connection.since > patience.reading:
                connection.close()
        elif connection.last is not None:
            return
        elif connection.reading:
            limit = patience.head if connection.head is None else patience.body
            if now - connection.began > limit:
                connection.refuse(408, f"the request did not arrive within {limit:g} s")
        elif connection.idle and now - connection.since > patience.idle:
            connection.close()
