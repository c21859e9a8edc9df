"""Rows held against a model's contract: names, order, types, missing values, ranges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from maestro.core.contract import Feature, ModelContract
from maestro.core.errors import BadInput
from maestro.serving.table import Batch, Matrix, Table

_EXACT = 2.0**53
"""Integers up to here survive a float64."""


class Validator:
    """The checks of one contract, prepared once.

    Args:
        contract: what the model accepts.
        out_of_range: called with (feature, count) for values beyond the range that training saw.
    """

    def __init__(self, contract: ModelContract, out_of_range: Callable[[str, int], None] | None = None) -> None:
        self.contract = contract
        self._out_of_range = out_of_range
        self._names = contract.names
        self._types = tuple(feature.type for feature in contract.features)
        self._index = {name: position for position, name in enumerate(self._names)}
        self._minima = np.array([-np.inf if f.min is None else f.min for f in contract.features])
        self._maxima = np.array([np.inf if f.max is None else f.max for f in contract.features])
        self._bounded = bool(np.isfinite(self._minima).any() or np.isfinite(self._maxima).any())
        self.plain = all(kind in ("float64", "int64") for kind in self._types)
        self._integers = [i for i, kind in enumerate(self._types) if kind == "int64"]
        self._has_strings = "string" in self._types

    def validate(self, table: Table) -> Batch:
        """The rows in the model's order and types.

        Raises:
            BadInput: an unknown or missing column, a value of the wrong type, a missing value or an infinity where none is allowed, the
                wrong width, or (when the contract refuses them) a value out of range; names field and row.
        """
        if len(table) == 0:
            raise BadInput(
                f"{table.where} holds no rows", field=table.where, remedy="send at least one row of features"
            )
        if table.matrix is not None and self.plain:
            matrix = self._arrange(table.matrix, table)
            if self._is_clean(matrix):
                return self._bounded_batch(matrix, table)
        columns = self._columns(table)
        if self._has_strings:
            arrays = tuple(
                np.array(values, dtype=object if kind == "string" else np.float64)
                for values, kind in zip(columns, self._types, strict=True)
            )
            batch = Batch(self._names, self._types, len(table), None, arrays)
            self._check_ranges(batch, table)
            return batch
        return self._bounded_batch(np.array(columns, dtype=np.float64).T.copy(), table)

    def sample(self) -> Batch:
        """One row inside the contract: the middle of each range, for warming up."""
        values: list[Any] = []
        for feature in self.contract.features:
            low = feature.min if feature.min is not None else (feature.max if feature.max is not None else 0.0)
            high = feature.max if feature.max is not None else low
            middle = (low + high) / 2
            value: Any = {"float64": middle, "int64": math.floor(middle), "bool": False, "string": ""}[feature.type]
            values.append(value)
        return self.validate(Table(rows=[values]))

    def _bounded_batch(self, matrix: Matrix, table: Table) -> Batch:
        batch = Batch(self._names, self._types, len(matrix), matrix)
        if self._bounded:
            outside = (matrix < self._minima) | (matrix > self._maxima)
            if outside.any():
                self._check_ranges(batch, table)
        return batch

    def _check_ranges(self, batch: Batch, table: Table) -> None:
        for position, feature in enumerate(self.contract.features):
            if feature.type == "string" or (feature.min is None and feature.max is None):
                continue
            values = batch.column(position)
            outside = (values < self._minima[position]) | (values > self._maxima[position])
            count = int(outside.sum())
            if not count:
                continue
            if self.contract.on_out_of_range == "refuse":
                row = int(np.argmax(outside))
                raise _bad(
                    table, row, feature, f"is out of range [{feature.min}, {feature.max}]", "send a value inside it"
                )
            if self._out_of_range is not None:
                self._out_of_range(feature.name, count)

    def _is_clean(self, matrix: Matrix) -> bool:
        if not np.isfinite(matrix).all():
            return False
        if self._integers:
            integers = matrix[:, self._integers]
            return bool((np.floor(integers) == integers).all() and (np.abs(integers) <= _EXACT).all())
        return True

    def _arrange(self, matrix: Matrix, table: Table) -> Matrix:
        if table.names is None:
            if matrix.shape[1] != len(self._names):
                raise _width(table, 0, matrix.shape[1], len(self._names))
            return matrix
        if table.names == self._names:
            return matrix
        return matrix[:, self._order(table.names, table)]

    def _order(self, names: tuple[str, ...], table: Table) -> list[int]:
        """Where each feature stands among `names`."""
        positions: dict[str, int] = {}
        for position, name in enumerate(names):
            if name not in self._index:
                raise _unknown(table, None, name, self._names)
            if name in positions:
                raise BadInput(
                    f"{table.where}: column {name!r} stands twice",
                    field=f"{table.where}.{name}",
                    remedy="send each column once",
                )
            positions[name] = position
        for name in self._names:
            if name not in positions:
                raise _missing(table, None, name)
        return [positions[name] for name in self._names]

    def _columns(self, table: Table) -> list[list[Any]]:
        """Every value checked by its feature's type: a list a feature."""
        columns: list[list[Any]] = [[] for _ in self._names]
        order: list[int] | None = None
        if table.records is None and table.names is not None and table.names != self._names:
            order = self._order(table.names, table)
        width = len(table.names) if table.names is not None else len(self._names)
        source: Sequence[Any] = (
            table.records
            if table.records is not None
            else table.rows
            if table.rows is not None
            else table.matrix.tolist()  # type: ignore[union-attr]
        )
        for row, record in enumerate(source):
            values: Sequence[Any]
            if isinstance(record, Mapping):
                values = self._by_name(record, row, table)
            else:
                if not isinstance(record, Sequence) or isinstance(record, str | bytes):
                    raise BadInput(
                        f"{table.where}[{row}] is neither a list nor an object",
                        field=f"{table.where}[{row}]",
                        remedy="send each row as a list of values or as an object by column",
                    )
                if len(record) != width:
                    raise _width(table, row, len(record), width)
                values = record if order is None else [record[i] for i in order]
            for column, feature, value in zip(columns, self.contract.features, values, strict=True):
                column.append(_checked(_meant(value, feature) if table.text else value, feature, row, table))
        return columns

    def _by_name(self, record: Mapping[str, Any], row: int, table: Table) -> list[Any]:
        if len(record) != len(self._names) or any(name not in self._index for name in record):
            for name in record:
                if name not in self._index:
                    raise _unknown(table, row, name, self._names)
        values = []
        for name, feature in zip(self._names, self.contract.features, strict=True):
            if name in record:
                values.append(record[name])
            elif feature.nullable:
                values.append(None)
            else:
                raise _missing(table, row, name)
        return values


def _checked(value: Any, feature: Feature, row: int, table: Table) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        if feature.nullable:
            return None if feature.type == "string" else math.nan
        raise _bad(table, row, feature, "is missing", "send a value; the contract allows no missing value here")
    kind = feature.type
    if kind == "string":
        if isinstance(value, str):
            return value
    elif kind == "bool":
        if isinstance(value, bool):
            return float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isinf(number):
            raise _bad(table, row, feature, "is not finite", "send a finite number")
        if kind == "float64" or (number.is_integer() and abs(number) <= _EXACT):
            return number
    raise _bad(table, row, feature, f"is {_described(value)}, not {kind}", f"send it as {kind}")


def _meant(text: str, feature: Feature) -> Any:
    """The value that a cell of text stands for; the text itself when it stands for none of the feature's type."""
    if text == "":
        return None
    if feature.type == "string":
        return text
    if feature.type == "bool":
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return float(text)
    except ValueError:
        return text


def _described(value: Any) -> str:
    text = repr(value)
    return f"{text[:40]}{'…' if len(text) > 40 else ''} ({type(value).__name__})"


def _bad(table: Table, row: int, feature: Feature, problem: str, remedy: str) -> BadInput:
    return BadInput(
        f"{table.where}[{row}]: column {feature.name!r} {problem}",
        field=f"{table.where}[{row}].{feature.name}",
        remedy=remedy,
        row=row,
    )


def _unknown(table: Table, row: int | None, name: str, known: tuple[str, ...]) -> BadInput:
    place = table.where if row is None else f"{table.where}[{row}]"
    shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    return BadInput(
        f"{place}: unknown column {name[:80]!r}",
        field=f"{place}.{name[:80]}",
        remedy=f"send the model's columns: {shown}",
    )


def _missing(table: Table, row: int | None, name: str) -> BadInput:
    place = table.where if row is None else f"{table.where}[{row}]"
    return BadInput(
        f"{place}: column {name!r} is missing", field=f"{place}.{name}", remedy=f"add {name!r} to every row"
    )


def _width(table: Table, row: int, got: int, expected: int) -> BadInput:
    return BadInput(
        f"{table.where}[{row}] has {got} values, the model takes {expected}",
        field=f"{table.where}[{row}]",
        remedy=f"send {expected} values in the model's order, or an object by column name",
        row=row,
    )
