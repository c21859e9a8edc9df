"""One entry of the audit chain, and the data that every database gives back unchanged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from maestro.core.canonical import canonical_bytes
from maestro.core.errors import BadInput
from maestro.core.model import Digest, Model, Time

GENESIS = "sha256:" + "0" * 64
"""`prev` of the first entry."""

_LARGEST = 2**53 - 1


def _text(length: int) -> StringConstraints:
    return StringConstraints(min_length=1, max_length=length, pattern=r"^[^\x00]*$")


class AuditEntry(Model):
    """One thing that somebody did or tried. `content_digest()` covers every field, `prev` is that of the entry before.

    `actor` is `kind:name`, `action` a dotted verb (`approval.grant`), `subject` is `kind/name` (`version/churn@1.2.0`),
    `outcome` one word (`done`, `refused`, `failed`).
    """

    seq: int = Field(ge=1)
    at: Time
    actor: Annotated[str, _text(256)]
    action: Annotated[str, _text(128)]
    subject: Annotated[str, _text(512)]
    outcome: Annotated[str, _text(16)]
    data: dict[str, Any] = Field(default_factory=dict)
    prev: Digest


def storable(data: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON form of `data` that SQLite and PostgreSQL both give back with the same canonical bytes.

    Raises:
        BadInput: it holds what is not JSON, NaN, a number beyond 2**53 - 1, or a NUL character; the member is named.

    >>> storable({"weight": 10.0, "versions": ("1.0.0", None)})
    {'versions': ['1.0.0', None], 'weight': 10}
    """
    _check(data, "data", 0)
    try:
        document: dict[str, Any] = json.loads(canonical_bytes(dict(data)))
    except (ValueError, TypeError) as error:
        raise BadInput(f"audit data is not JSON: {error}", field="data") from None
    return document


def _check(value: Any, path: str, depth: int) -> None:
    if depth > 32:
        raise BadInput(f"audit data: {path} is nested too deeply", field=path)
    if isinstance(value, Mapping):
        for name, item in value.items():
            _check(name, path, depth)
            _check(item, f"{path}.{name}", depth + 1)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _check(item, f"{path}.{position}", depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        # A larger number would come back from one database as an integer and from the other as a float.
        if not abs(value) <= _LARGEST:
            raise BadInput(f"audit data: {path} is not a number up to 2**53 - 1", field=path, remedy="write it as text")
    elif isinstance(value, str):
        if "\0" in value:
            raise BadInput(f"audit data: {path} holds a NUL character", field=path)
    elif value is not None and not isinstance(value, bool):
        raise BadInput(f"audit data: {path} is a {type(value).__name__}, not JSON", field=path)
