"""Columns of Arrow held against a contract: the rules of `maestro.serving.contract`, a whole column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from maestro.core.contract import Feature, ModelContract
from maestro.core.errors import BadInput
from maestro.serving.table import Batch

_EXACT = 2.0**53


def check_schema(schema: pa.Schema, contract: ModelContract, keep: Sequence[str], where: str) -> None:
    """Refuse a table whose columns are not the contract's.

    Args:
        keep: columns beside the features that are handed through.
        where: how errors name the table.

    Raises:
        BadInput: a column is missing, stands twice, is extra, or has a type that is not its feature's; it is named.
    """
    names = list(schema.names)
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{where}: column {name!r} stands twice", field=name, remedy="give each column one name")
    for feature in contract.features:
        if feature.name not in names:
            raise BadInput(f"{where}: column {feature.name!r} is missing", field=feature.name, remedy="add the column")
        kind = schema.field(feature.name).type
        if not _suits(kind, feature):
            raise BadInput(
                f"{where}: column {feature.name!r} is {kind}, not {feature.type}",
                field=feature.name,
                remedy=f"write it as {feature.type}",
            )
    for name in keep:
        if name not in names:
            raise BadInput(
                f"{where}: column {name!r} is to be kept and is missing", field=name, remedy="correct --keep"
            )
    for name in names:
        if name not in contract.names and name not in keep:
            raise BadInput(
                f"{where}: column {name!r} is no feature of the model",
                field=name,
                remedy=f"leave it out, or hand it through with --keep {name}",
            )


def batch_of(rows: pa.RecordBatch, contract: ModelContract, where: str, first: int) -> tuple[Batch, dict[str, int]]:
    """The rows as a model takes them, and how many values a feature has beyond the range that training saw.

    Args:
        where: how errors name the table.
        first: the number of the first row in it.

    Raises:
        BadInput: a value is missing where none may be, infinite, no whole number, or out of a range that the contract enforces; names column and row.
    """
    beyond: dict[str, int] = {}
    columns = []
    for feature in contract.features:
        column = rows.column(rows.schema.get_field_index(feature.name))
        values = _texts(column) if feature.type == "string" else _numbers(column)
        missing = column.is_null().to_numpy(zero_copy_only=False) if feature.type == "string" else np.isnan(values)
        if not feature.nullable and missing.any():
            raise _bad(where, feature, first + int(missing.argmax()), "is missing", "fill it, or train with gaps")
        if feature.type != "string":
            _check_numbers(values, missing, feature, where, first)
            outside = _outside(values, feature)
            if outside is not None and outside.any():
                if contract.on_out_of_range == "refuse":
                    row = first + int(outside.argmax())
                    problem = f"is out of range [{feature.min}, {feature.max}]"
                    raise _bad(where, feature, row, problem, "leave such rows out")
                beyond[feature.name] = int(outside.sum())
        columns.append(values)
    types = tuple(feature.type for feature in contract.features)
    if "string" in types:
        return Batch(contract.names, types, rows.num_rows, None, tuple(columns)), beyond
    matrix = np.empty((rows.num_rows, len(columns)))
    for position, values in enumerate(columns):
        matrix[:, position] = values
    return Batch(contract.names, types, rows.num_rows, matrix), beyond


def _suits(kind: pa.DataType, feature: Feature) -> bool:
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    match feature.type:
        case "string":
            inner = kind.value_type if pa.types.is_dictionary(kind) else kind
            return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))
        case "bool":
            return bool(pa.types.is_boolean(kind))
        case _:
            return bool(number)


def _numbers(column: pa.Array) -> NDArray[np.float64]:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if column.null_count:
        column = pc.fill_null(column.cast(pa.float64(), safe=False), float("nan"))
    values: NDArray[np.float64] = column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return values


def _texts(column: pa.Array) -> NDArray[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values: NDArray[Any] = np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)
    return values


def _check_numbers(
    values: NDArray[np.float64], missing: NDArray[np.bool_], feature: Feature, where: str, first: int
) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        raise _bad(where, feature, first + int(infinite.argmax()), "is not finite", "leave such rows out")
    if feature.type == "int64":
        broken = ~missing & ((np.floor(values) != values) | (np.abs(values) > _EXACT))
        if broken.any():
            raise _bad(where, feature, first + int(broken.argmax()), "is no whole number", "write it as int64")


def _outside(values: NDArray[np.float64], feature: Feature) -> NDArray[np.bool_] | None:
    if feature.min is None and feature.max is None:
        return None
    low = -np.inf if feature.min is None else feature.min
    high = np.inf if feature.max is None else feature.max
    found: NDArray[np.bool_] = (values < low) | (values > high)
    return found


def _bad(where: str, feature: Feature, row: int, problem: str, remedy: str) -> BadInput:
    return BadInput(
        f"{where}, row {row}: column {feature.name!r} {problem}", field=feature.name, remedy=remedy, row=row
    )
