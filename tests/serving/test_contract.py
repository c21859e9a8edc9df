"""Rows against a contract: every way to get them wrong is an error that names the column and the row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.core.contract import Feature, ModelContract, Output
from maestro.core.errors import BadInput
from maestro.serving.contract import Validator
from maestro.serving.table import Table

MIXED = ModelContract.build(
    (
        Feature(name="size", min=0.0, max=10.0),
        Feature(name="count", type="int64", nullable=True),
        Feature(name="colour", type="string", nullable=True),
        Feature(name="new", type="bool"),
    ),
    Output(kind="classification", classes=("0", "1")),
)
NUMBERS = ModelContract.build(
    (Feature(name="a", min=0.0, max=1.0), Feature(name="b", type="int64"), Feature(name="c", nullable=True)),
    Output(kind="regression"),
)
GOOD = {"size": 1.5, "count": 3, "colour": "red", "new": True}


def test_columns_are_ordered_by_name() -> None:
    records = [dict(reversed(GOOD.items())), GOOD]
    batch = Validator(MIXED).validate(Table(records=records))
    assert batch.names == ("size", "count", "colour", "new")
    assert [batch.column(i).tolist() for i in range(4)] == [[1.5, 1.5], [3.0, 3.0], ["red", "red"], [1.0, 1.0]]


def test_named_rows_may_come_in_any_order() -> None:
    batch = Validator(NUMBERS).validate(Table(matrix=np.array([[7.0, 0.5, 2.0]]), names=("b", "a", "c")))
    assert batch.matrix is not None
    assert batch.matrix.tolist() == [[0.5, 7.0, 2.0]]


@pytest.mark.parametrize(
    ("record", "field", "says"),
    [
        (GOOD | {"weight": 1}, "instances[1].weight", "unknown column"),
        ({k: v for k, v in GOOD.items() if k != "size"}, "instances[1].size", "missing"),
        (GOOD | {"size": None}, "instances[1].size", "missing"),
        (GOOD | {"size": math.nan}, "instances[1].size", "missing"),
        (GOOD | {"size": math.inf}, "instances[1].size", "not finite"),
        (GOOD | {"size": 10**400}, "instances[1].size", "not finite"),
        (GOOD | {"size": "1.5"}, "instances[1].size", "not float64"),
        (GOOD | {"size": True}, "instances[1].size", "not float64"),
        (GOOD | {"size": [1.0]}, "instances[1].size", "not float64"),
        (GOOD | {"count": 1.5}, "instances[1].count", "not int64"),
        (GOOD | {"count": 2**60}, "instances[1].count", "not int64"),
        (GOOD | {"colour": 3}, "instances[1].colour", "not string"),
        (GOOD | {"new": 1}, "instances[1].new", "not bool"),
        (GOOD | {"new": None}, "instances[1].new", "missing"),
    ],
)
def test_a_wrong_record_is_refused_by_field_and_row(record: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        Validator(MIXED).validate(Table(records=[GOOD, record]))
    assert caught.value.field == field
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        ([[0.1, 2]], "instances[0]"),
        ([[0.1, 2, 3.0], [0.1, 2, 3.0, 4.0]], "instances[1]"),
        ([[0.1, 2, 3.0], 7], "instances[1]"),
        ([[0.1, 2, 3.0], "abc"], "instances[1]"),
        ([["0.1", 2, 3.0]], "instances[0].a"),
        ([[0.1, None, 3.0]], "instances[0].b"),
        ([], "instances"),
    ],
)
def test_a_wrong_positional_row_is_refused(rows: list[Any], field: str) -> None:
    with pytest.raises(BadInput) as caught:
        Validator(NUMBERS).validate(Table(rows=rows))
    assert caught.value.field == field


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c", "d"), ("a", "b", "b"), ("a", "b", "x")])
def test_wrong_names_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(BadInput):
        Validator(NUMBERS).validate(Table(matrix=np.zeros((1, len(names))), names=names))
    with pytest.raises(BadInput):
        Validator(NUMBERS).validate(Table(rows=[[0.0] * len(names)], names=names))


def test_a_missing_value_is_taken_where_the_contract_allows_it() -> None:
    batch = Validator(NUMBERS).validate(Table(records=[{"a": 0.5, "b": 1}]))
    assert batch.matrix is not None
    assert math.isnan(batch.matrix[0, 2])
    batch = Validator(MIXED).validate(Table(records=[GOOD | {"colour": None, "count": None}]))
    assert batch.column(2).tolist() == [None]


def test_values_out_of_range_are_counted_and_answered() -> None:
    seen: dict[str, int] = {}
    validator = Validator(NUMBERS, lambda feature, count: seen.update({feature: count}))
    validator.validate(Table(matrix=np.array([[0.5, 1, 0], [1.5, 1, 0], [-0.1, 1, 0]])))
    assert seen == {"a": 2}


def test_values_out_of_range_are_refused_when_the_contract_says_so() -> None:
    strict = ModelContract.build(NUMBERS.features, NUMBERS.output, on_out_of_range="refuse")
    with pytest.raises(BadInput, match="out of range") as caught:
        Validator(strict).validate(Table(matrix=np.array([[0.5, 1, 0], [1.5, 1, 0]])))
    assert caught.value.field == "instances[1].a"


def test_text_cells_stand_for_values_of_their_type() -> None:
    table = Table(rows=[["1.5", "3", "red", "true"], ["2", "", "", "False"]], names=MIXED.names, text=True)
    batch = Validator(MIXED).validate(table)
    assert [batch.column(i).tolist() for i in (0, 2, 3)] == [[1.5, 2.0], ["red", None], [1.0, 0.0]]
    with pytest.raises(BadInput, match="not float64"):
        Validator(MIXED).validate(Table(rows=[["many", "3", "red", "true"]], names=MIXED.names, text=True))


def test_the_sample_satisfies_its_own_contract() -> None:
    assert Validator(MIXED).sample().size == 1


value = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.lists(st.integers(), max_size=2)
)


@given(
    st.one_of(
        st.lists(st.dictionaries(st.sampled_from(["size", "count", "colour", "new", "x"]), value), max_size=3).map(
            lambda records: Table(records=records)
        ),
        st.lists(st.one_of(st.lists(value, max_size=5), value), max_size=3).map(lambda rows: Table(rows=rows)),
    )
)
def test_whatever_is_sent_is_taken_right_or_refused_as_bad_input(table: Table) -> None:
    refused = None
    try:
        batch = Validator(MIXED).validate(table)
    except BadInput as error:
        refused = error
    if refused is not None:
        assert refused.field
        return
    assert batch.size == len(table)
    assert np.isfinite(batch.column(0)).all()


@given(st.lists(st.tuples(st.floats(), st.floats(), st.floats()), min_size=1, max_size=4))
def test_the_fast_path_agrees_with_the_careful_one(rows: list[tuple[float, float, float]]) -> None:
    def outcome(table: Table) -> object:
        try:
            batch = Validator(NUMBERS).validate(table)
        except BadInput as error:
            return error.detail
        assert batch.matrix is not None
        return batch.matrix.tolist()

    fast = outcome(Table(matrix=np.array(rows, dtype=np.float64)))
    careful = outcome(Table(rows=[list(row) for row in rows]))
    assert str(fast) == str(careful)


@pytest.mark.parametrize("width", [2, 4])
def test_a_matrix_of_another_width_is_refused(width: int) -> None:
    with pytest.raises(BadInput, match=rf"{width}.*3|3.*{width}"):
        Validator(NUMBERS).validate(Table(matrix=np.ones((1, width))))
