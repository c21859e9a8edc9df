"""What a request's body may be, decided before any route sees it: bounded, JSON that every other program reads the same way (I-JSON, RFC 7493), and for each route exactly its model."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maestro.api.problems import problem_of
from maestro.core.errors import BadInput, MaestroError, Malformed, TooLarge

MAX_DEPTH = 64
"""Objects and arrays inside each other."""

MAX_INTEGER = 2**53 - 1
"""Beyond it, programs that read numbers as doubles change the value."""

MAX_DRAINED = 256 * 2**20
"""Bytes of an oversized body that are read and thrown away, so that the caller hears why it is refused."""


class UnsupportedMedia(BadInput):
    """The content type is not one that is read here."""

    slug, title, status = "unsupported-media-type", "Unsupported media type", 415


class BodyGuard:
    """ASGI middleware: refuses bodies over `limit` bytes, of another type than JSON, or that are not I-JSON."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, check it, hand the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            body = await _read(head, receive, self._limit)
            if body:
                _require_json(head.get(b"content-type", ""))
                await run_in_threadpool(check_document, body)
        except MaestroError as error:
            answer = problem_of(error)
            if error.status == 413:
                answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)


async def _read(head: dict[bytes, str], receive: Receive, limit: int) -> bytes:
    declared = head.get(b"content-length", "")
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
        else:
            parts.append(chunk)
        if not message.get("more_body", False) or size > MAX_DRAINED:
            break
    if over:
        raise TooLarge(
            f"the body is larger than {limit} bytes",
            field="body",
            remedy="send less, or raise MAESTRO_API__MAX_BODY_BYTES where the API runs",
        )
    return b"".join(parts)


def _require_json(declared: str) -> None:
    kind = declared.partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMedia(
            f"content type {kind[:80] or 'none'!r} is not read here",
            field="Content-Type",
            remedy="send application/json",
        )


def check_document(body: bytes) -> None:
    """Refuse what is not I-JSON: broken UTF-8, NaN and infinity, numbers beyond a double's whole range, names twice, half characters, and what nests too deep.

    Raises:
        Malformed: `body` is none.
        BadInput: it holds the character NUL, which databases do not keep.
    """
    try:
        document = json.loads(
            body.decode(), parse_constant=_no_number, parse_float=_finite, parse_int=_exact, object_pairs_hook=_once
        )
        _check_inside(document)
    except RecursionError:
        raise _deep() from None
    except UnicodeError as error:
        raise Malformed(f"the body is not UTF-8: {error}"[:200], field="body", remedy="send UTF-8") from None
    except ValueError as error:
        raise Malformed(f"the body is not JSON: {error}"[:200], field="body", remedy="send a JSON document") from None


def _check_inside(document: object) -> None:
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise _deep()
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, str):
                value.encode()
                if "\0" in value:
                    raise BadInput(
                        "the body holds the character NUL (\\u0000)", field="body", remedy="leave the character out"
                    )
        level = below


def _deep() -> Malformed:
    return Malformed(f"the body nests deeper than {MAX_DEPTH} levels", field="body", remedy="send a flatter document")


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


def _exact(text: str) -> int:
    if len(text) > 17 or abs(value := int(text)) > MAX_INTEGER:
        raise ValueError(f"{text[:40]} is beyond 2**53 - 1, up to which whole numbers are exact")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:80]!r} stands twice in one object")
    return document


class _AsJson:
    """Validates as pydantic does JSON strictly: a boolean or a text is no number, a number no text."""

    def __get_pydantic_core_schema__(self, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        def strictly(value: object) -> object:
            return source.model_validate_json(json.dumps(value), strict=True)

        return core_schema.no_info_before_validator_function(strictly, handler(source))


Document = TypeVar("Document", bound=BaseModel)

Strict = Annotated[Document, _AsJson()]
"""A route's body: exactly the types that the contract names, nothing converted."""
