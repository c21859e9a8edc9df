"""The base of every shared model: frozen, strict about unknown fields, canonical on output."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, PlainSerializer, StringConstraints

from maestro.core.canonical import digest


class Model(BaseModel):
    """An immutable document. Unknown fields are refused, so that a typo is an error and never a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, ser_json_inf_nan="null")

    def document(self) -> dict[str, Any]:
        """The JSON form, by alias, without fields that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def content_digest(self) -> str:
        """`sha256:` + hex of the canonical JSON form (RFC 8785)."""
        return digest(self.document())


def format_time(value: datetime) -> str:
    """A time as UTC with milliseconds.

    >>> format_time(datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC))
    '2026-01-02T03:04:05.678Z'
    """
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def _to_milliseconds(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(microsecond=value.microsecond // 1000 * 1000)


Time = Annotated[AwareDatetime, AfterValidator(_to_milliseconds), PlainSerializer(format_time, when_used="json")]
"""An instant: aware, UTC, whole milliseconds."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""`sha256:` + 64 hex digits."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9])?$")]
"""A name that is safe in a URL, a path, a label and a file: letters, digits, `_ . -`, at most 128."""
