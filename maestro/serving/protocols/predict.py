"""`POST /predict`: `{"instances": [[…], …]}` or objects by column, or `{"entities": [{"person_id": 7}]}`; answers `{"predictions": […]}`.

Optional members: `model` (needed when several are served), `entities` beside `instances` (who each row is about) and `context` (values by
name that a split may stick to). The header `x-maestro-unit` gives the value for whichever key the split names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from maestro.core.errors import BadInput, MaestroError
from maestro.serving.dataplane import InferRequest, InferResult, key_text
from maestro.serving.protocols.adapter import JSON, Asked, Hot, Render, Rendered, decode, plain_problem
from maestro.serving.protocols.number_rows import NumberRows
from maestro.serving.protocols.rows import matrix_of, table_of
from maestro.serving.table import Table


class _Numbers(msgspec.Struct, forbid_unknown_fields=True):
    instances: list[list[float]]
    entities: list[dict[str, str | int]] | None = None
    context: dict[str, str | int] | None = None
    model: str | None = None


class _Anything(msgspec.Struct, forbid_unknown_fields=True):
    instances: list[Any] | None = None
    entities: list[dict[str, str | int]] | None = None
    context: dict[str, str | int] | None = None
    model: str | None = None


_numbers = msgspec.json.Decoder(_Numbers)
_anything = msgspec.json.Decoder(_Anything)
_encode = msgspec.json.Encoder().encode


class PredictAdapter:
    """The platform's own protocol."""

    media_types: ClassVar[tuple[str, ...]] = (JSON,)

    def __init__(self, rows: NumberRows | None = None) -> None:
        self._rows = rows

    def hot(self, data: bytes, asked: Asked) -> Hot | None:
        """Rows of numbers."""
        taken = None if self._rows is None else self._rows.take(data, b'"instances"', 2)
        try:
            sent = _numbers.decode(data if taken is None else taken[0])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        model = sent.model if sent.model is not None else asked.query.get("model")
        return Hot(model, sent.instances if taken is None else taken[1], sent.entities, sent.context)

    def read(self, data: bytes, asked: Asked) -> tuple[InferRequest, Render]:
        """Rows of numbers take a typed decoder; anything else is parsed again and checked value by value."""
        sent: _Numbers | _Anything
        table: Table | None
        try:
            sent = _numbers.decode(data)
            table = matrix_of(sent.instances, "instances") if sent.instances else Table(rows=[])
        except (msgspec.DecodeError, RecursionError):
            sent = decode(data, _anything)
            if sent.instances is None and sent.entities is None:
                raise BadInput(
                    "the body holds neither instances nor entities", field="instances", remedy="send rows as instances"
                ) from None
            table = None if sent.instances is None else table_of(sent.instances, "instances")
        context = named(asked.context, sent.context)
        model = sent.model if sent.model is not None else asked.query.get("model")
        return InferRequest(model, table, sent.entities, context), render

    def problem(self, error: MaestroError) -> tuple[int, dict[str, Any]]:
        """As it is."""
        return plain_problem(error)


def named(known: Mapping[str, str], sent: Mapping[str, str | int] | None) -> dict[str, str]:
    """The values that a split may stick to, of the head and of the body.

    Raises:
        BadInput: one is empty.
    """
    context = dict(known)
    for name, value in (sent or {}).items():
        context[name] = key_text(value, f"context.{name}")
    return context


def render(result: InferResult) -> Rendered:
    """`{"predictions": […]}`."""
    return Rendered(_encode({"predictions": result.answer.prediction.values}))
