"""`POST /invocations` as `mlflow models serve` takes it: `dataframe_split`, `dataframe_records`, `instances`, `inputs`, or CSV.

Source: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

from __future__ import annotations

import csv
import io
from typing import Any, ClassVar

import msgspec

from maestro.core.errors import BadInput, MaestroError, Malformed
from maestro.serving.dataplane import InferRequest
from maestro.serving.protocols.adapter import JSON, Asked, Hot, Render, decode, plain_problem
from maestro.serving.protocols.number_rows import LARGE, NumberRows
from maestro.serving.protocols.predict import render
from maestro.serving.protocols.rows import columns_of, table_of
from maestro.serving.table import Matrix, Table

CSV = "text/csv"
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    data: list[list[Any]]
    columns: list[str | int] | None = None
    index: list[Any] | None = None


class _Invocation(msgspec.Struct, forbid_unknown_fields=True):
    dataframe_split: _Split | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: list[Any] | None = None
    inputs: list[Any] | dict[str, Any] | None = None
    params: dict[str, Any] | None = None


class _Split64(msgspec.Struct, forbid_unknown_fields=True):
    data: list[list[float]]
    columns: list[str] | None = None
    index: list[Any] | None = None


class _Numbers(msgspec.Struct, forbid_unknown_fields=True):
    dataframe_split: _Split64 | None = None
    instances: list[list[float]] | None = None
    inputs: list[list[float]] | None = None


_KEYS = (b'"data"', b'"instances"', b'"inputs"')
_BEGINNING = 4096
"""Bytes in which the name of the rows is looked for, lest all numbers be."""
_decoder = msgspec.json.Decoder(_Invocation)
_numbers = msgspec.json.Decoder(_Numbers)


class InvocationsAdapter:
    """MLflow's scoring protocol."""

    media_types: ClassVar[tuple[str, ...]] = (JSON, CSV)

    def __init__(self, rows: NumberRows | None = None) -> None:
        self._rows = rows

    def hot(self, data: bytes, asked: Asked) -> Hot | None:
        """Rows of numbers in `instances`, `inputs` or `dataframe_split`."""
        if asked.media_type == CSV:
            return None
        taken = self._taken(data)
        try:
            sent = _numbers.decode(data if taken is None else taken[0])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        split = sent.dataframe_split
        listed = None if split is None else split.data
        given = [rows for rows in (sent.instances, sent.inputs, listed) if rows is not None]
        if len(given) != 1:
            return None
        names = tuple(split.columns) if split is not None and split.columns is not None else None
        return Hot(asked.query.get("model"), given[0] if taken is None else taken[1], names=names)

    def _taken(self, data: bytes) -> tuple[bytes, Matrix] | None:
        if self._rows is None or len(data) < LARGE:
            return None
        key = next((key for key in _KEYS if key in data[:_BEGINNING]), None)
        return None if key is None else self._rows.take(data, key, 2)

    def read(self, data: bytes, asked: Asked) -> tuple[InferRequest, Render]:
        """One of the forms, no two at once."""
        table = _csv(data) if asked.media_type == CSV else _json(data)
        return InferRequest(asked.query.get("model"), table, None, asked.context), render

    def problem(self, error: MaestroError) -> tuple[int, dict[str, Any]]:
        """As it is."""
        return plain_problem(error)


def _json(data: bytes) -> Table:
    sent: _Invocation = decode(data, _decoder)
    given = [form for form in _FORMS if getattr(sent, form) is not None]
    if len(given) != 1:
        raise BadInput(
            f"the body holds {' and '.join(given) or 'none'} of {', '.join(_FORMS)}",
            field=given[1] if given else "instances",
            remedy="send exactly one of them",
        )
    if sent.params:
        raise BadInput("params are not taken by the models served here", field="params", remedy="leave params out")
    if sent.dataframe_split is not None:
        split = sent.dataframe_split
        return Table(rows=split.data, names=_columns(split.columns), where="dataframe_split")
    if sent.dataframe_records is not None:
        return Table(records=sent.dataframe_records, where="dataframe_records")
    if sent.instances is not None:
        return table_of(sent.instances, "instances")
    if isinstance(sent.inputs, dict):
        return columns_of(sent.inputs, "inputs")
    return table_of(sent.inputs or [], "inputs")


def _columns(sent: list[str | int] | None) -> tuple[str, ...] | None:
    """Names; None for a frame without names, whose columns pandas numbers."""
    if sent is None or sent == list(range(len(sent))):
        return None
    return tuple(map(str, sent))


def _csv(data: bytes) -> Table:
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except UnicodeDecodeError:
        raise Malformed("the CSV body is not UTF-8", remedy="send UTF-8") from None
    except csv.Error as error:
        raise Malformed(f"the body is not CSV: {error}", remedy="send a header line, then a line a row") from None
    lines = [line for line in lines if line]
    if not lines:
        raise Malformed("the body is empty", remedy="send a header line, then a line a row")
    return Table(rows=lines[1:], names=tuple(lines[0]), where="csv", text=True)
