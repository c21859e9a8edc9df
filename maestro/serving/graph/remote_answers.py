"""What a remote node answered: values by row, the version that gave them, or why there are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from maestro.core.errors import BadInput, MaestroError
from maestro.serving.runtimes._base import ModelFailed

REFUSALS = (400, 413, 422)
"""Statuses that say that the rows are at fault. 404 does not: that server lacks the model, and no rows would please it."""

_WHOLE = range(-(2**63), 2**64)
"""What INT64 and UINT64 hold; JSON's digits know no end, and nothing behind this server takes more."""
_DEEPEST = 16
"""Lists in lists, of one value."""
_PLAIN = frozenset([float, str, bool, type(None)])

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Told:
    """Answers of one request.

    Args:
        values: one a row.
        version: the `model_version` of the answer; empty when it names none.
        datatype: of the tensor that holds the values.
    """

    values: list[Any]
    version: str
    datatype: str


def told(who: str, status: int, body: bytes, rows: int) -> Told | MaestroError:
    """The answers for `rows` rows, or the error that its caller gets: BadInput where the rows are at fault, else ModelFailed.

    Args:
        who: what errors call the node.
    """
    if status in REFUSALS:
        return BadInput(f"{who} refused the rows: {_reason(body)}", remedy="correct the rows")
    if status != 200:
        return ModelFailed(f"{who} answered {status}: {_reason(body)}", remedy="look at that server")
    try:
        document = _decode(body)
        output = document["outputs"][0]
        values = _by_row(output["data"], output["shape"])
        if len(values) != rows:
            raise ValueError(f"{len(values)} answers for {rows} rows")
        _check(values)
        version = str(document.get("model_version") or "")
        if not version.isprintable():  # it goes into a header
            raise ValueError("its model_version is not printable")
        return Told(values, version, str(output.get("datatype") or ""))
    except (msgspec.DecodeError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        return ModelFailed(
            f"{who} did not answer in the Open Inference Protocol: {error}", remedy="look at that server"
        )


def _by_row(data: Any, shape: Any) -> list[Any]:
    if not isinstance(data, list):
        raise ValueError("its data is no list")
    if data and isinstance(data[0], list):
        width = len(data[0])
        if any(not isinstance(item, list) or len(item) != width for item in data):
            raise ValueError("its rows differ in width")
        return [item[0] for item in data] if width == 1 else data
    width = 1 if len(shape) < 2 else int(shape[1])
    if width == 1:
        return data
    if width < 1 or len(data) % width:
        raise ValueError(f"{len(data)} values are no rows of {width}")
    return [data[start : start + width] for start in range(0, len(data), width)]


def _check(values: Any, depth: int = 0) -> None:
    """Raise ValueError for what could not be handed on as it is."""
    if depth > _DEEPEST:
        raise ValueError(f"a value is more than {_DEEPEST} lists deep")
    for value in values:
        kind = type(value)
        if kind in _PLAIN:
            continue
        if kind is int:
            if value not in _WHOLE:
                raise ValueError("a whole number has more than 64 bits")
        else:
            _check(value.values() if kind is dict else value, depth + 1)


def _reason(body: bytes) -> str:
    try:
        document = _decode(body)
    except (ValueError, RecursionError):  # also text that is not UTF-8
        return body.decode(errors="replace")[:200]
    if isinstance(document, dict):
        return str(document.get("detail") or document.get("error") or document)[:300]
    return str(document)[:300]
