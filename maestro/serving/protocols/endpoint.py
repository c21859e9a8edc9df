"""The HTTP side that all inference protocols share, below FastAPI: authentication, limits, errors, headers, counting."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol
from urllib.parse import parse_qs

import msgspec

from maestro.core.errors import BadInput, MaestroError, Malformed, TooLarge
from maestro.serving.auth import ServerAuth
from maestro.serving.dataplane import DataPlane, InferRequest, InferResult
from maestro.serving.graph._base import ANY_KEY

log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
JSON = "application/json"
MAX_DRAINED = 256 * 2**20
"""Bytes of an oversized body that are read and thrown away so that the caller hears why it is refused."""

_encode = msgspec.json.Encoder().encode

Scope = Mapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[dict[str, Any]], Any]


class UnsupportedMedia(BadInput):
    """The content type is not one that the route reads."""

    slug, title, status = "unsupported-media-type", "Unsupported media type", 415


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body with what an adapter may need of its head."""

    data: bytes
    media_type: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    context: Mapping[str, str]


Render = Callable[[InferResult], bytes]


class Adapter(Protocol):
    """One protocol.

    Obligations: `read` raises BadInput (or Malformed) for anything a caller can get wrong and never anything else; `problem` gives
    the status and the document of an error in the protocol's own form, still a problem document.
    """

    media_types: ClassVar[tuple[str, ...]]

    def read(self, body: Body) -> tuple[InferRequest, Render]:
        """The request, and what writes its answer."""
        ...

    def problem(self, error: MaestroError) -> tuple[int, dict[str, Any]]:
        """An error's status and document."""
        ...


class InferenceEndpoint:
    """An ASGI application for one route.

    Every answer is counted in `maestro_responses_total`; an answer names its version, arm and revision in `x-maestro-*` headers.
    """

    def __init__(self, adapter: Adapter, plane: DataPlane, auth: ServerAuth, max_body_bytes: int) -> None:
        self._adapter = adapter
        self._plane = plane
        self._auth = auth
        self._limit = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        status = 499  # what is counted when the caller goes away
        try:
            try:
                head = head_of(scope)
                self._auth.data(head.get("authorization"))
                data = await read_body(head, receive, self._limit)
                body = Body(
                    data,
                    _media_type(head, self._adapter.media_types),
                    scope.get("path_params") or {},
                    _query(scope),
                    _context(head),
                )
                request, render = self._adapter.read(body)
                result = await self._plane.infer(request)
                payload = render(result)
            except MaestroError as error:
                status = await self._refuse(error, send)
            except Exception:
                log.exception("a request failed in a way that nobody foresaw")
                status = await self._refuse(MaestroError("the server failed", remedy="see the server's log"), send)
            else:
                status = 200
                await _send(send, 200, JSON, payload, _headers(result))
        finally:
            self._plane.metrics.response(status, time.perf_counter() - started)

    async def _refuse(self, error: MaestroError, send: Send) -> int:
        status, document = self._adapter.problem(error)
        await _send(send, status, PROBLEM, _encode(document), problem_headers(error))
        return status


def plain_problem(error: MaestroError) -> tuple[int, dict[str, Any]]:
    """An error's own status and document."""
    return error.status, error.problem()


def problem_headers(error: MaestroError) -> list[tuple[bytes, bytes]]:
    """What an error's response must say beside its document."""
    headers: list[tuple[bytes, bytes]] = []
    if error.status in (429, 503):
        headers.append((b"retry-after", str(int(error.extra.get("retry_after", 1))).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.status == 413:
        headers.append((b"connection", b"close"))
    return headers


def decode(data: bytes, typed: msgspec.json.Decoder[Any]) -> Any:
    """A JSON body as the decoder's type.

    Raises:
        Malformed: it is empty or not JSON.
        BadInput: it is JSON of another shape; names the field.
    """
    if not data:
        raise Malformed("the body is empty", remedy="send a JSON document")
    try:
        return typed.decode(data)
    except msgspec.ValidationError as error:
        text = str(error)
        message, _, path = text.partition(" - at `")
        field = path.rstrip("`").removeprefix("$").removeprefix(".") or "body"
        raise BadInput(f"{field}: {message}", field=field, remedy=f"correct {field}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"the body is not JSON: {str(error)[:200]}", remedy="send a JSON document") from None


def _headers(result: InferResult) -> list[tuple[bytes, bytes]]:
    answer = result.answer
    headers = [
        (b"x-maestro-version", answer.version.encode("latin-1", "replace")),
        (b"x-maestro-arm", answer.arm.encode("latin-1", "replace")),
        (b"x-maestro-revision", str(result.revision).encode()),
    ]
    if answer.fallback is not None:
        headers.append((b"x-maestro-fallback", answer.fallback.encode("latin-1", "replace")))
    return headers


def head_of(scope: Scope) -> dict[str, str]:
    """The request's headers by lower-case name."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _context(head: Mapping[str, str]) -> dict[str, str]:
    unit = head.get("x-maestro-unit")
    return {} if not unit else {ANY_KEY: unit}


def _query(scope: Scope) -> dict[str, str]:
    raw = scope.get("query_string", b"")
    return {} if not raw else {key: values[-1] for key, values in parse_qs(raw.decode("latin-1")).items()}


def _media_type(head: Mapping[str, str], known: tuple[str, ...]) -> str:
    declared = head.get("content-type", known[0]).partition(";")[0].strip().lower() or known[0]
    if declared not in known:
        raise UnsupportedMedia(
            f"content type {declared[:80]!r} is not read here",
            field="Content-Type",
            remedy=f"send {' or '.join(known)}",
        )
    return declared


async def read_body(head: Mapping[str, str], receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it is larger than `limit` bytes; it has been read and thrown away.
        Malformed: the caller went away.
    """
    declared = head.get("content-length", "")
    size, over = 0, declared.isdigit() and int(declared) > limit
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Malformed("the caller went away before the body ended", remedy="send it again")
        chunk = message.get("body", b"")
        size += len(chunk)
        over = over or size > limit
        if over:
            parts.clear()
        elif chunk:
            parts.append(chunk)
        if not message.get("more_body", False) or size > MAX_DRAINED:
            break
    if over:
        raise TooLarge(
            f"the body is larger than {limit} bytes",
            field="body",
            remedy="send fewer rows in one request, or raise MAESTRO_SERVING__MAX_BODY_BYTES",
        )
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _send(send: Send, status: int, media_type: str, payload: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", media_type.encode()),
                (b"content-length", str(len(payload)).encode()),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": payload})
