"""Columns are held against a contract exactly as rows are at the server's door."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maestro.core.contract import Feature, ModelContract, Output
from maestro.core.errors import BadInput
from maestro.serving.batch.columns import batch_of, check_schema
from maestro.serving.contract import Validator
from maestro.serving.table import Batch, Table

NUMBER = st.one_of(st.none(), st.floats(-8, 8), st.just(math.inf), st.integers(-8, 8).map(float))
TEXT = st.one_of(st.none(), st.sampled_from(["a", "b", ""]))
FLAG = st.one_of(st.none(), st.booleans())


@st.composite
def cases(draw: st.DrawFn) -> tuple[ModelContract, dict[str, list[Any]]]:
    count = draw(st.integers(1, 6))
    features: list[Feature] = []
    columns: dict[str, list[Any]] = {}
    kinds = {"float64": NUMBER, "int64": NUMBER, "string": TEXT, "bool": FLAG}
    for place in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(sorted(kinds)))
        bounds = (-5.0, 5.0) if kind in ("float64", "int64") and draw(st.booleans()) else (None, None)
        features.append(
            Feature(name=f"f{place}", type=kind, min=bounds[0], max=bounds[1], nullable=draw(st.booleans()))
        )
        columns[f"f{place}"] = draw(st.lists(kinds[kind], min_size=count, max_size=count))
    rule = draw(st.sampled_from(["accept_and_count", "refuse"]))
    contract = ModelContract.build(tuple(features), Output(kind="regression"), on_out_of_range=rule)
    return contract, columns


def same(one: Batch, other: Batch) -> bool:
    return all(
        all(a == b or (a is None and b is None) or (a != a and b != b) for a, b in zip(x, y, strict=True))
        for x, y in ((one.column(i).tolist(), other.column(i).tolist()) for i in range(len(one.names)))
    )


@settings(max_examples=150, deadline=None)
@given(cases())
def test_columns_and_rows_are_accepted_and_refused_alike(case: tuple[ModelContract, dict[str, list[Any]]]) -> None:
    contract, columns = case
    counted: dict[str, int] = {}
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    arrow = {"float64": pa.float64(), "int64": pa.float64(), "string": pa.string(), "bool": pa.bool_()}
    rows = pa.record_batch({f.name: pa.array(columns[f.name], arrow[f.type]) for f in contract.features})
    refused: BadInput | None = None
    try:
        expected = Validator(contract, lambda name, count: counted.update({name: count})).validate(
            Table(records=records)
        )
    except BadInput as error:
        refused = error
    if refused is not None:
        with pytest.raises(BadInput):
            batch_of(rows, contract, "t", 0)
        return
    found, beyond = batch_of(rows, contract, "t", 0)
    assert same(found, expected)
    assert beyond == counted


def test_an_error_names_the_row_of_the_file() -> None:
    contract = ModelContract.build((Feature(name="a"),), Output(kind="regression"))
    rows = pa.record_batch({"a": pa.array([1.0, None])})
    with pytest.raises(BadInput, match=r"t\.parquet, row 1001: column 'a' is missing"):
        batch_of(rows, contract, "t.parquet", 1000)


def test_narrow_numbers_and_coded_texts_suit(trained_types: pa.Schema) -> None:
    contract = ModelContract.build(
        (Feature(name="a"), Feature(name="b", type="int64"), Feature(name="c", type="string")),
        Output(kind="regression"),
    )
    check_schema(trained_types, contract, (), "t")
    rows = pa.record_batch(
        [pa.array([1.5], pa.float32()), pa.array([3], pa.int16()), pa.array(["x"]).dictionary_encode()],
        schema=trained_types,
    )
    found, _ = batch_of(rows, contract, "t", 0)
    assert [found.column(i)[0] for i in range(3)] == [1.5, 3.0, "x"]


@pytest.fixture
def trained_types() -> pa.Schema:
    return pa.schema([("a", pa.float32()), ("b", pa.int16()), ("c", pa.dictionary(pa.int32(), pa.string()))])


def test_a_kept_column_that_is_not_there_is_told() -> None:
    contract = ModelContract.build((Feature(name="a"),), Output(kind="regression"))
    with pytest.raises(BadInput, match="'id' is to be kept and is missing"):
        check_schema(pa.schema([("a", pa.float64())]), contract, ("id",), "t")
