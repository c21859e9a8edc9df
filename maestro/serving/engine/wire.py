"""Answers as bytes: what does not change between two answers is written once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus

import msgspec

from maestro.core.errors import MaestroError

JSON = b"application/json"
PROBLEM = b"application/problem+json"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = b"connection: close\r\n"
KEEP = b"connection: keep-alive\r\n"

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_LINES = {status: f"HTTP/1.1 {status} {phrase}\r\n".encode() for status, phrase in _PHRASES.items()}
_encode = msgspec.json.Encoder().encode

Headers = Iterable[tuple[bytes, bytes]]


class Today:
    """The date header, written anew once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        """`date: …`, with its line end."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = b"date: " + formatdate(second, usegmt=True).encode() + b"\r\n"
        return self._line


TODAY = Today()


def head(status: int, media_type: bytes, headers: Headers = ()) -> bytes:
    """The beginning of an answer up to where its date, connection and length come."""
    line = _LINES.get(status) or f"HTTP/1.1 {status} Status\r\n".encode()
    parts = [line, b"content-type: ", media_type, b"\r\n"]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    return b"".join(parts)


def answer(beginning: bytes, body: bytes, *, connection: bytes = b"", bodiless: bool = False) -> bytes:
    """A whole answer.

    Args:
        beginning: of `head`.
        connection: `CLOSE`, `KEEP` or nothing.
        bodiless: the caller asked for the head only.
    """
    length = b"content-length: %d\r\n\r\n" % len(body)
    return b"".join((beginning, TODAY.line(), connection, length, b"" if bodiless else body))


def problem(error: MaestroError, status: int | None = None) -> bytes:
    """An error's document."""
    document = error.problem()
    if status is not None:
        document["status"] = status
    return _encode(document)
