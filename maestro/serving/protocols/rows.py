"""Rows in JSON as several protocols send them: a list of lists, of objects, or of single values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maestro.core.errors import BadInput
from maestro.serving.table import Table


def table_of(rows: Sequence[Any], where: str) -> Table:
    """A table of rows that were parsed without a type.

    Raises:
        BadInput: rows are of several forms.
    """
    if not rows:
        return Table(rows=[], where=where)
    kinds = {_kind(row) for row in rows}
    if len(kinds) > 1:
        raise BadInput(
            f"{where} mixes {' and '.join(sorted(kinds))}",
            field=where,
            remedy="send every row as a list, or every row as an object",
        )
    kind = kinds.pop()
    if kind == "objects":
        return Table(records=rows, where=where)
    return Table(rows=[[row] for row in rows] if kind == "single values" else rows, where=where)


def matrix_of(rows: list[list[float]], where: str, names: tuple[str, ...] | None = None) -> Table:
    """A table of rows that are numbers already."""
    try:
        return Table(matrix=np.array(rows, dtype=np.float64).reshape(len(rows), -1), names=names, where=where)
    except (ValueError, OverflowError):
        return Table(rows=rows, names=names, where=where)  # of unequal width: the contract's check names the row


def columns_of(columns: Mapping[str, Any], where: str) -> Table:
    """A table of columns: a list of values, or of lists of one value, for each name.

    Raises:
        BadInput: columns of unequal length, or one that is not a list.
    """
    lists: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if not isinstance(values, list):
            values = [values]
        lists[name] = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]
    if len({len(values) for values in lists.values()}) > 1:
        raise BadInput(f"{where}: columns differ in length", field=where, remedy="send as many values for each column")
    return Table(rows=[list(row) for row in zip(*lists.values(), strict=True)], names=tuple(lists), where=where)


def _kind(row: Any) -> str:
    if isinstance(row, dict):
        return "objects"
    return "lists" if isinstance(row, list) else "single values"
