"""A request's head, held against everything that two readers could read in two ways.

Sources: RFC 9112 (sections 3.2, 6.1, 6.3, 7.1), RFC 9110 (section 10.1.1). What httptools lets through and a proxy in front may read otherwise is refused
here: a length beside a transfer coding, two lengths, a list of lengths, any coding but `chunked`, a coding in HTTP/1.0, no host or two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

MAX_TARGET = 8 * 1024
MAX_HEAD = 32 * 1024
MAX_HEADERS = 100
_LENGTH = re.compile(rb"[0-9]{1,18}")
_SINGLE = frozenset([b"content-length", b"transfer-encoding", b"host", b"authorization", b"content-type", b"expect"])
_VERSIONS = frozenset(["1.0", "1.1"])
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Unreadable(Exception):
    """The request cannot be read, or could be read in two ways: the answer is `status` and the connection ends.

    Args:
        status: the HTTP status.
        detail: what is wrong, in one sentence.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(slots=True)
class Head:
    """Method, target and headers of a request.

    Args:
        headers: by lower-case name; several of one name joined by a comma.
        length: of the body in bytes; None when it comes in chunks.
        keep_alive: whether the caller may send another request on the connection.
        expects: whether it waits for `100 Continue`.
        state: what the dispatcher found out about it, kept for the next request with the same bytes.
    """

    method: str
    path: str
    query: str
    version: str
    headers: Mapping[str, str]
    length: int | None
    keep_alive: bool
    expects: bool = False
    raw: tuple[tuple[bytes, bytes], ...] = ()
    state: Any = field(default=None)

    @property
    def queries(self) -> dict[str, str]:
        """The query's values by name, the last of each."""
        if not self.query:
            return {}
        return {name: values[-1] for name, values in parse_qs(self.query, keep_blank_values=True).items()}


def read_head(method: bytes, target: bytes, version: str, headers: list[tuple[bytes, bytes]], keep_alive: bool) -> Head:
    """The head, when it can be read in one way only.

    Raises:
        Unreadable: it cannot.
    """
    if version not in _VERSIONS:
        raise Unreadable(505, f"HTTP/{version} is not spoken here")
    found: dict[str, str] = {}
    raw: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        lower = name.lower()
        if _TOKEN.fullmatch(lower) is None:
            raise Unreadable(400, "a header's name is not a token")
        if _CONTROL.search(value) is not None:
            raise Unreadable(400, f"header {lower.decode('latin-1')} holds a control character")
        value = value.strip(b" \t")
        text = lower.decode("latin-1")
        if text in found:
            if lower in _SINGLE:
                raise Unreadable(400, f"header {text} stands twice")
            found[text] += ", " + value.decode("latin-1")
        else:
            found[text] = value.decode("latin-1")
        raw.append((lower, value))
    if version == "1.1" and "host" not in found:
        raise Unreadable(400, "header host is missing")
    path, query = _target(target, method)
    expectation = found.get("expect", "").lower()
    if expectation and expectation != "100-continue":
        raise Unreadable(417, "the expectation is not one that is met here")
    length = _length(found, version)
    expects = bool(expectation) and version == "1.1" and length != 0
    return Head(method.decode("latin-1"), path, query, version, found, length, keep_alive, expects, tuple(raw))


def _length(headers: Mapping[str, str], version: str) -> int | None:
    declared, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if declared is not None:
            raise Unreadable(400, "the request has a content-length beside a transfer-encoding")
        if version != "1.1":
            raise Unreadable(400, "HTTP/1.0 knows no transfer-encoding")
        if coding.lower() != "chunked":
            raise Unreadable(400, "the transfer-encoding is not chunked")
        return None
    if declared is None:
        return 0
    if _LENGTH.fullmatch(declared.encode("latin-1")) is None:
        raise Unreadable(400, "the content-length is not a number")
    return int(declared)


def _target(target: bytes, method: bytes) -> tuple[str, str]:
    if len(target) > MAX_TARGET:
        raise Unreadable(414, f"the target is longer than {MAX_TARGET} bytes")
    if target.lower().startswith((b"http://", b"https://")):  # the absolute form, which every server takes
        _, _, rest = target.partition(b"://")
        _, slash, rest = rest.partition(b"/")
        target = slash + rest if slash else b"/"
    if not target.startswith(b"/") and not (method == b"OPTIONS" and target == b"*"):
        raise Unreadable(400, "the target is not a path")
    if any(byte <= 32 or byte >= 127 for byte in target):
        raise Unreadable(400, "the target holds a byte that must be escaped")
    path, _, query = target.partition(b"?")
    return unquote_to_bytes(path).decode("utf-8", "replace"), query.partition(b"#")[0].decode("ascii")
