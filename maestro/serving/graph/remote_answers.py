"""What a remote node answered: values by row, the version that gave them, or why there are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from maestro.core.errors import BadInput, MaestroError
from maestro.serving.runtimes._base import ModelFailed

REFUSALS = (400, 404, 413, 422)
"""Statuses that say that the rows are at fault, or that there is nobody to ask for them."""

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
        data, shape = output["data"], output["shape"]
        width = 1 if len(shape) < 2 else int(shape[1])
        values: list[Any] = data if width == 1 else [data[i : i + width] for i in range(0, len(data), width)]
        if data and isinstance(data[0], list):
            values = [item[0] if len(item) == 1 else item for item in data]
        if len(values) != rows:
            raise ValueError(f"{len(values)} answers for {rows} rows")
        version = str(document.get("model_version") or "")
        if not version.isprintable():  # it goes into a header
            raise ValueError("its model_version is not printable")
        return Told(values, version, str(output.get("datatype") or ""))
    except (msgspec.DecodeError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        return ModelFailed(
            f"{who} did not answer in the Open Inference Protocol: {error}", remedy="look at that server"
        )


def _reason(body: bytes) -> str:
    try:
        document = _decode(body)
    except msgspec.DecodeError:
        return body.decode(errors="replace")[:200]
    if isinstance(document, dict):
        return str(document.get("detail") or document.get("error") or document)[:300]
    return str(document)[:300]
