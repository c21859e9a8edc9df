"""Rows as the tensors of the Open Inference Protocol (REST, version 2), and those of several requests as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec

from maestro.core.errors import BadInput
from maestro.serving.table import Table

_encode = msgspec.json.Encoder().encode

_NUMBER = 25
"""Bytes of the longest FP64 in JSON, and a comma."""
_CHARACTER = 6
"""Bytes of the longest character in JSON: an escaped one."""

Column = tuple[str, str, int]
"""A tensor but for its rows: name, datatype, width."""


@dataclass(frozen=True, slots=True)
class Tensors:
    """Rows on their way to a remote node.

    Args:
        columns: one a tensor; requests may be sent as one when theirs are equal.
        rows: how many.
        data: the values of each tensor, row after row, `rows` × width of them.
    """

    columns: tuple[Column, ...]
    rows: int
    data: tuple[list[Any], ...]

    @property
    def most_bytes(self) -> int:
        """How large the values can be as JSON, roughly and not too low; whole numbers are taken for no longer than others."""
        most = 0
        for (_, datatype, width), values in zip(self.columns, self.data, strict=True):
            most += _NUMBER * width * self.rows
            if datatype == "BYTES":
                most += _CHARACTER * sum(len(value) for value in values if isinstance(value, str))
        return most


def positional(width: int, rows: int, values: list[Any]) -> Tensors:
    """Numbers that have no names: one tensor, rows × width."""
    return Tensors((("input-0", "FP64", width),), rows, (values,))


def tensors(table: Table) -> Tensors:
    """One FP64 tensor when every value is a number and none has a name, else one tensor a column.

    Raises:
        BadInput: the rows cannot be said.
    """
    if table.matrix is not None and table.names is None:
        rows, width = table.matrix.shape
        return positional(width, rows, _finite(table.matrix.ravel().tolist(), table))
    names, listed = _rows(table)
    if names is None:
        if all(_is_number(value) for row in listed for value in row):
            flat = _finite([value for row in listed for value in row], table)
            return positional(len(listed[0]) if listed else 0, len(listed), [float(value) for value in flat])
        raise BadInput(
            f"{table.where}: rows with text, booleans or missing values need column names here",
            field=table.where,
            remedy="send objects",
        )
    columns: list[Column] = []
    data: list[list[Any]] = []
    for position, name in enumerate(names):
        column = [row[position] for row in listed]
        datatype = "BYTES"
        if all(isinstance(value, bool) for value in column):
            datatype = "BOOL"
        elif all(_is_number(value) for value in column):
            datatype, column = "FP64", _finite(column, table)
        columns.append((name, datatype, 1))
        data.append(column)
    return Tensors(tuple(columns), len(listed), tuple(data))


def body(parts: Sequence[Tensors]) -> bytes:
    """One request for the rows of all parts, which have the same columns, in order."""
    rows = sum(part.rows for part in parts)
    inputs = []
    for index, (name, datatype, width) in enumerate(parts[0].columns):
        data = parts[0].data[index]
        if len(parts) > 1:
            data = list(chain.from_iterable(part.data[index] for part in parts))
        inputs.append({"name": name, "shape": [rows, width], "datatype": datatype, "data": data})
    return _encode({"inputs": inputs})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(values: list[Any], table: Table) -> list[Any]:
    try:
        finite = all(map(math.isfinite, values))
    except OverflowError:  # a whole number that no float can be
        finite = False
    if not finite:
        raise BadInput(
            f"{table.where}: a number is not finite, and JSON has no word for it",
            field=table.where,
            remedy="send finite numbers",
        )
    return values


def _rows(table: Table) -> tuple[tuple[str, ...] | None, list[list[Any]]]:
    if table.records is not None:
        names = tuple(dict.fromkeys(name for record in table.records for name in record))
        return names, [[record.get(name) for name in names] for record in table.records]
    if table.matrix is not None:
        return table.names, table.matrix.tolist()
    rows = table.rows or ()
    if any(len(row) != len(rows[0]) for row in rows):
        raise BadInput(f"{table.where}: rows differ in width", field=table.where, remedy="send rows of one width")
    return table.names, [list(row) for row in rows]
