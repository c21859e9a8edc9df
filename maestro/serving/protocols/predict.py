"""`POST /predict`: `{"instances": [[…], …]}` or objects by column, or `{"entities": [{"person_id": 7}]}`; answers `{"predictions": […]}`.

Optional members: `model` (needed when several are served), `entities` beside `instances` (who each row is about) and `context` (values by
name that a split may stick to). The header `x-maestro-unit` gives the value for whichever key the split names.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from maestro.core.errors import BadInput, MaestroError
from maestro.serving.dataplane import InferRequest, InferResult, key_text
from maestro.serving.protocols.endpoint import JSON, Body, Render, decode, plain_problem
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

    def read(self, body: Body) -> tuple[InferRequest, Render]:
        """Rows of numbers take a typed decoder; anything else is parsed again and checked value by value."""
        sent: _Numbers | _Anything
        table: Table | None
        try:
            sent = _numbers.decode(body.data)
            table = matrix_of(sent.instances, "instances") if sent.instances else Table(rows=[])
        except (msgspec.DecodeError, RecursionError):
            sent = decode(body.data, _anything)
            if sent.instances is None and sent.entities is None:
                raise BadInput(
                    "the body holds neither instances nor entities", field="instances", remedy="send rows as instances"
                ) from None
            table = None if sent.instances is None else table_of(sent.instances, "instances")
        context = dict(body.context)
        for name, value in (sent.context or {}).items():
            context[name] = key_text(value, f"context.{name}")
        model = sent.model if sent.model is not None else body.query.get("model")
        return InferRequest(model, table, sent.entities, context), render

    def problem(self, error: MaestroError) -> tuple[int, dict[str, Any]]:
        """As it is."""
        return plain_problem(error)


def render(result: InferResult) -> bytes:
    """`{"predictions": […]}`."""
    return _encode({"predictions": result.answer.prediction.values})
