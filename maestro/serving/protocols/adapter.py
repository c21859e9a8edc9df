"""What every inference protocol owes the port that it is spoken on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import msgspec

from maestro.core.errors import BadInput, MaestroError, Malformed
from maestro.serving.dataplane import InferRequest, InferResult
from maestro.serving.graph._base import ANY_KEY
from maestro.serving.table import Matrix

JSON = "application/json"
BINARY = "application/octet-stream"
PROBLEM = "application/problem+json"


class UnsupportedMedia(BadInput):
    """The content type is not one that the route reads."""

    slug, title, status = "unsupported-media-type", "Unsupported media type", 415


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says beside its body; equal heads give one and the same.

    Args:
        path: the route's values by name.
        query: the query's values by name.
        context: values that a split may stick to.
        json_bytes: bytes of JSON before the binary tensors; None when the body is JSON as a whole.
    """

    media_type: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)
    json_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """The body of an answer, its media type, and headers beside those of every answer."""

    body: bytes
    media_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


Render = Callable[[InferResult], Rendered]


@dataclass(frozen=True, slots=True)
class Hot:
    """A body of one of the shapes that are sent most: rows of numbers by position.

    Args:
        model: the graph's name; None when the server has one only.
        names: columns in the order of the rows; None when positional.
        render: writes the answer; None writes `{"predictions": […]}`.
    """

    model: str | None
    rows: list[list[float]] | Matrix
    entities: list[dict[str, str | int]] | None = None
    context: Mapping[str, str | int] | None = None
    names: tuple[str, ...] | None = None
    render: Render | None = None


class Adapter(Protocol):
    """One protocol.

    Obligations: `read` raises BadInput (or Malformed) for anything a caller can get wrong and never anything else; `hot` gives None for every body
    that it does not take, and what it takes means what `read` would have made of it; `problem` gives the status and the document of an error
    in the protocol's own form, still a problem document.
    """

    media_types: ClassVar[tuple[str, ...]]

    def hot(self, data: bytes, asked: Asked) -> Hot | None:
        """The body when it has a shape that needs no value looked at one by one."""
        ...

    def read(self, data: bytes, asked: Asked) -> tuple[InferRequest, Render]:
        """The request, and what writes its answer."""
        ...

    def problem(self, error: MaestroError) -> tuple[int, dict[str, Any]]:
        """An error's status and document."""
        ...


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
        field_ = path.rstrip("`").removeprefix("$").removeprefix(".") or "body"
        raise BadInput(f"{field_}: {message}", field=field_, remedy=f"correct {field_}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"the body is not JSON: {str(error)[:200]}", remedy="send a JSON document") from None


def asked(
    headers: Mapping[str, str], known: tuple[str, ...], path: Mapping[str, str], query: Mapping[str, str]
) -> Asked:
    """What a head says.

    Raises:
        UnsupportedMedia: the content type is not one of `known`.
        Malformed: the length of the JSON before binary tensors is not a number.
    """
    declared = headers.get("content-type", known[0]).partition(";")[0].strip().lower() or known[0]
    length = headers.get("inference-header-content-length")
    if length is not None and BINARY in known:
        if not length.isdigit() or len(length) > 12:
            raise Malformed(
                "Inference-Header-Content-Length is not a number",
                field="Inference-Header-Content-Length",
                remedy="send the bytes of JSON before the binary tensors",
            )
        declared = BINARY
    elif declared not in known or (declared == BINARY and length is None):
        readable = [media for media in known if media != BINARY]
        raise UnsupportedMedia(
            f"content type {declared[:80]!r} is not read here",
            field="Content-Type",
            remedy=f"send {' or '.join(readable)}",
        )
    unit = headers.get("x-maestro-unit")
    context = {ANY_KEY: unit} if unit else {}
    return Asked(declared, path, query, context, int(length) if declared == BINARY and length is not None else None)
