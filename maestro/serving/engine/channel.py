"""Frames between the parent and a worker: four bytes of length, then msgpack.

What has been handed to the kernel outlives its sender, so that an attempt which was told before its answer left is never lost with the process. The
reader may catch up at any moment, without waiting for the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Callable
from typing import Any

import msgspec

log = logging.getLogger(__name__)

MAX_FRAME = 512 * 2**20
MAX_UNSENT = 64 * 2**20
_CHUNK = 1 << 18
_REPLY, _FAILED = "reply", "failed"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, int, msgspec.Raw]).decode


class ChannelClosed(Exception):
    """The other side has gone."""


class CallFailed(Exception):
    """The other side could not do what it was asked; says why."""


class Channel:
    """One end.

    Args:
        sock: a stream socket, connected; it belongs to the channel.
        received: called with kind, number and payload of what comes, on the event loop's thread; a number other than 0 wants `reply` or `fail`.
        closed: called once when the other side has gone.
    """

    def __init__(
        self,
        sock: socket.socket,
        received: Callable[[str, int, msgspec.Raw], None],
        closed: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * 2**20)
        self._sock = sock
        self._received = received
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._unsent = bytearray()
        self._unread = bytearray()
        self._open = True
        self._loop.add_reader(sock.fileno(), self.catch_up)

    @property
    def full(self) -> bool:
        """Whether the other side is so far behind that no more should be told."""
        return len(self._unsent) > MAX_UNSENT

    def tell(self, kind: str, payload: Any, number: int = 0) -> None:
        """Send, and wait for nothing. Has reached the kernel when it returns, unless the other side is behind."""
        if not self._open:
            return
        data = _encode((kind, number, payload))
        frame = len(data).to_bytes(4, "big") + data
        sent = 0
        if not self._unsent:
            try:
                sent = self._sock.send(frame)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
        if sent < len(frame):
            if not self._unsent:
                self._loop.add_writer(self._sock.fileno(), self._send)
            self._unsent += frame[sent:]

    async def ask(self, kind: str, payload: Any) -> msgspec.Raw:
        """Send and wait for the reply.

        Raises:
            CallFailed: the other side says that it cannot.
            ChannelClosed: it has gone.
        """
        if not self._open:
            raise ChannelClosed
        number = next(self._numbers)
        reply: asyncio.Future[msgspec.Raw] = self._loop.create_future()
        self._waiting[number] = reply
        try:
            self.tell(kind, payload, number)
            return await reply
        finally:
            self._waiting.pop(number, None)

    def reply(self, number: int, payload: Any) -> None:
        """Answer what was asked."""
        self.tell(_REPLY, payload, number)

    def fail(self, number: int, reason: str) -> None:
        """Say that what was asked cannot be done."""
        self.tell(_FAILED, reason, number)

    def catch_up(self) -> None:
        """Take in everything that has been sent."""
        while self._open:
            try:
                data = self._sock.recv(_CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            self._unread += data
            self._take()

    def close(self) -> None:
        """Let go; what waits for a reply fails."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(ChannelClosed())
        self._closed()

    def _take(self) -> None:
        unread, start = self._unread, 0
        while len(unread) - start >= 4:
            size = int.from_bytes(unread[start : start + 4], "big")
            if size > MAX_FRAME:
                self.close()
                return
            end = start + 4 + size
            if len(unread) < end:
                break
            kind, number, payload = _decode(bytes(unread[start + 4 : end]))
            start = end
            if kind in (_REPLY, _FAILED):
                self._settle(kind, number, payload)
                continue
            try:
                self._received(kind, number, payload)
            except Exception:
                log.exception("a message of kind %s could not be taken", kind)
        del unread[:start]

    def _settle(self, kind: str, number: int, payload: msgspec.Raw) -> None:
        reply = self._waiting.get(number)
        if reply is None or reply.done():
            return
        if kind == _REPLY:
            reply.set_result(payload)
        else:
            reply.set_exception(CallFailed(msgspec.msgpack.decode(payload)))

    def _send(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._sock.fileno())
