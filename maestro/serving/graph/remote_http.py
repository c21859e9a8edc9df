"""HTTP/1.1 to remote nodes: connections stay open and carry one request at a time. A general client would take longer than the answer that it brings."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import httptools

MAX_CONNECTIONS = 256
"""To one server at once; more requests wait for one of them."""
MAX_ANSWER = 256 * 2**20


class RemoteUnheard(Exception):
    """No answer came; says why."""


class RemoteUnreached(RemoteUnheard):
    """There is no connection to it: it was asked nothing."""


@dataclass
class _Server:
    """One address, with its connections that carry nothing now."""

    host: str
    port: int
    tls: bool
    idle: list[_Connection] = field(default_factory=list)
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_CONNECTIONS))


class RemoteClient:
    """Asks remote nodes. Belongs to one event loop.

    Args:
        key: the file with the key by which they are asked, read again when it changes; without the file nothing is said.
    """

    def __init__(self, key: Path | None = None) -> None:
        self._key = key
        self._said: tuple[tuple[int, int, int] | None, bytes] = (None, b"")
        self._servers: dict[tuple[str, int, bool], _Server] = {}
        self._targets: dict[str, tuple[_Server, bytes]] = {}
        self._context: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection that carries nothing."""
        for server in self._servers.values():
            while server.idle:
                server.idle.pop().close()

    async def post(
        self,
        url: str,
        body: bytes | Callable[[], bytes],
        *,
        timeout_s: float | None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> tuple[int, bytes]:
        """Status and body of the answer to a JSON document.

        Args:
            body: the document, or what gives it; called once, when there is a connection's room for it.
            timeout_s: None where the caller keeps the time, and cancels.

        A connection that its server has closed while nothing was under way is replaced by a fresh one, once: what ends one process of that server must not
        be handed to all of them. Otherwise an attempt is one attempt.

        Raises:
            TimeoutError: there was none within `timeout_s`.
            RemoteUnreached: it cannot be asked.
            RemoteUnheard: it did not answer, or not in HTTP.
        """
        server, head = self._target(url)
        more = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
        async with asyncio.timeout(timeout_s), server.room:
            document = body if isinstance(body, bytes) else body()
            data = b"%s%s%scontent-length: %d\r\n\r\n%s" % (head, self._authorization(), more, len(document), document)
            if server.idle:
                with contextlib.suppress(_NothingHeard):
                    return await self._ask(server, server.idle.pop(), data)
            try:
                return await self._ask(server, await self._open(server), data)
            except _NothingHeard as error:
                raise RemoteUnheard(str(error)) from None

    async def _ask(self, server: _Server, connection: _Connection, data: bytes) -> tuple[int, bytes]:
        try:
            answer = await connection.ask(data)
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            connection.kept_by = server.idle
            server.idle.append(connection)
        else:
            connection.close()
        return answer

    async def _open(self, server: _Server) -> _Connection:
        loop = asyncio.get_running_loop()
        if server.tls and self._context is None:
            self._context = ssl.create_default_context()
        try:
            _, connection = await loop.create_connection(
                _Connection, server.host, server.port, ssl=self._context if server.tls else None
            )
        except ConnectionError as error:
            raise RemoteUnreached(os.strerror(error.errno or errno.ECONNREFUSED)) from None
        except (OSError, ValueError) as error:
            raise RemoteUnreached(getattr(error, "strerror", "") or str(error)) from None
        return connection

    def _target(self, url: str) -> tuple[_Server, bytes]:
        found = self._targets.get(url)
        if found is None:
            found = self._targets[url] = self._parsed(url)
        return found

    def _parsed(self, url: str) -> tuple[_Server, bytes]:
        try:
            parts = urlsplit(url)
            host, tls = (parts.hostname or "").encode("idna").decode(), parts.scheme == "https"
            port = parts.port or (443 if tls else 80)
            path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}".encode("ascii")
        except (ValueError, UnicodeError) as error:
            raise RemoteUnreached(f"its address cannot be read: {error}") from None
        if not host or any(byte <= 32 or byte == 127 for byte in host.encode() + path):
            raise RemoteUnreached("its address cannot be read")
        named = f"[{host}]" if ":" in host else host
        head = b"POST %s HTTP/1.1\r\nhost: %s\r\n" % (path, f"{named}:{port}".encode())
        head += b"content-type: application/json\r\naccept: application/json\r\n"
        if parts.username is not None and self._key is None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            head += b"authorization: Basic %s\r\n" % base64.b64encode(pair.encode())
        server = self._servers.setdefault((host, port, tls), _Server(host, port, tls))
        return server, head

    def _authorization(self) -> bytes:
        if self._key is None:
            return b""
        try:
            status = self._key.stat()
            written = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._said[0] != written:
                key = self._key.read_text(encoding="utf-8").strip()
                self._said = (written, f"authorization: Bearer {key}\r\n".encode("latin-1"))
        except (OSError, ValueError):
            return b""
        return self._said[1]


class _NothingHeard(Exception):
    """The connection ended before an answer began."""


class _Connection(asyncio.Protocol):
    """One socket. Its parser calls the `on_*` methods."""

    def __init__(self) -> None:
        self.kept_by: list[_Connection] | None = None
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._begun = self._headed = self._measured = self._keep_alive = self._unasked = False

    @property
    def reusable(self) -> bool:
        """Whether it may carry another request."""
        return self._keep_alive and not self._unasked and self._transport is not None

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        """Send a request and wait for its answer."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise _NothingHeard("the connection was closed")
        self.kept_by = None
        self._keep_alive = self._begun = False
        self._answer = asyncio.get_running_loop().create_future()
        transport.write(data)
        return await self._answer

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = transport  # type: ignore[assignment]  # that of a stream

    def data_received(self, data: bytes) -> None:
        """A part of an answer; anything that was not asked for ends the connection."""
        if self._answer is None or self._answer.done():
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(RemoteUnheard(f"it did not answer in HTTP: {str(error)[:120]}"))

    def connection_lost(self, error: Exception | None) -> None:
        """The other side has gone: the end of an answer that does not say how long it is, and of nothing else."""
        self._transport = None
        if self.kept_by is not None:
            with contextlib.suppress(ValueError):
                self.kept_by.remove(self)
        if not self._begun:
            self._fail(_NothingHeard("it closed the connection without an answer"))
        elif self._measured or not self._headed or error is not None:
            self._fail(RemoteUnheard("it closed the connection in mid-answer"))
        else:
            self._settle()

    def on_message_begin(self) -> None:
        """An answer begins; one that nobody has asked for ends the connection."""
        if self._answer is None or self._answer.done():
            self._unasked = True
        self._begun, self._headed, self._measured = True, False, False
        self._parts, self._size = [], 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._measured = self._measured or name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._headed = True

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._size += len(body)
        if self._size > MAX_ANSWER:
            self._fail(RemoteUnheard(f"its answer is larger than {MAX_ANSWER} bytes"))
            return
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it only says that another will follow."""
        if self._parser.get_status_code() >= 200 and not self._unasked:
            self._keep_alive = self._parser.should_keep_alive()
            self._settle()

    def _settle(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), b"".join(self._parts)))
        self._parts = []

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()
