"""Compiled code reads a body's numbers as a general parser does, or leaves the body to one."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maestro.serving.protocols.adapter import Asked
from maestro.serving.protocols.mlflow_invocations import InvocationsAdapter
from maestro.serving.protocols.number_rows import LARGE, NumberRows
from maestro.serving.protocols.open_inference import OpenInferenceAdapter
from maestro.serving.protocols.predict import PredictAdapter

SPACE = b" " * LARGE


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> NumberRows:
    found = NumberRows(tmp_path_factory.mktemp("plans"))
    if not found.open():
        pytest.skip("no C compiler is installed")
    return found


def digits(most: int) -> st.SearchStrategy[str]:
    return st.integers(1, most).flatmap(lambda count: st.text("0123456789", min_size=count, max_size=count))


NUMBERS = st.one_of(
    st.integers(0, 2**64 - 1)
    .map(lambda bits: struct.unpack("d", struct.pack("Q", bits))[0])
    .filter(np.isfinite)
    .map(repr),
    st.floats(-1e6, 1e6, width=32).map(repr),
    st.integers(-(10**25), 10**25).map(str),
    st.integers(2**53, 2**60).map(str),
    st.builds(lambda whole, part: f"{whole}.{part}", st.integers(-(10**21), 10**21), digits(25)),
    st.builds(lambda zeros, part: f"-0.{'0' * zeros}{part}", st.integers(0, 25), digits(20)),
    st.builds(lambda whole, power: f"{whole}E{power:+d}", st.integers(-(10**19), 10**19), st.integers(-40, 40)),
    st.builds(lambda whole, power: f"{whole}.5e{power}", st.integers(0, 10**17), st.integers(-30, 30)),
)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(NUMBERS, min_size=60, max_size=60))
def test_every_number_is_the_nearest_double(rows: NumberRows, texts: list[str]) -> None:
    taken = rows.take(b'{"instances":[[' + ",".join(texts).encode() + b"]]" + SPACE + b"}", b'"instances"', 2)
    assert taken is not None
    assert taken[1].tobytes() == np.array([[float(text) for text in texts]]).tobytes()


@pytest.mark.parametrize(
    "listed",
    ["[]", "[[]]", "[[1],[2,3]]", "[[1,]]", "[[1]", "[[01]]", "[[1.]]", "[[.5]]", "[[1e]]", "[[+1]]", "[[-]]", "[[1],]", "[[1] [2]]",
     "[[null]]", '[["1"]]', "[[true]]", "[[[1]]]", "[[1e999]]", "[[NaN]]", "[[Infinity]]", "[[1],[[2]]]", "[[1],2]", "[1]", '[{"a":1}]',
     "[[0x1]]", "[[1_0]]", "[[1" + "0" * 400 + "]]"],
)  # fmt: skip
def test_what_is_odd_is_left_to_a_general_parser(rows: NumberRows, listed: str) -> None:
    assert rows.take(f'{{"instances":{listed}}}'.encode() + SPACE, b'"instances"', 2) is None


@pytest.mark.parametrize("cut", [1, 2, 3, 40, 2000])
def test_a_body_that_ends_early_is_left_to_a_general_parser(rows: NumberRows, cut: int) -> None:
    body = b'{"instances":[[' + b"1.5," * LARGE + b"2]]}"
    assert rows.take(body, b'"instances"', 2) is not None
    assert rows.take(body[:-cut], b'"instances"', 2) is None or cut == 1


MATRIX = np.random.default_rng(0).normal(size=(40, 5)).tolist()
FLAT = [value for row in MATRIX for value in row]
BODIES: list[tuple[Any, dict[str, str], Any]] = [
    (PredictAdapter, {}, {"instances": MATRIX}),
    (PredictAdapter, {}, {"model": "m", "instances": MATRIX, "context": {"user": "1"}}),
    (PredictAdapter, {}, {"instances": MATRIX, "entities": [{"person_id": 7}] * 40}),
    (PredictAdapter, {}, {"instances": MATRIX, "unknown": 1}),
    (PredictAdapter, {}, {"context": {"instances": MATRIX}}),
    (PredictAdapter, {}, {"entities": [{"instances": MATRIX}], "instances": [[1.0]]}),
    (PredictAdapter, {}, [{"instances": MATRIX}]),
    (InvocationsAdapter, {}, {"inputs": MATRIX}),
    (InvocationsAdapter, {}, {"dataframe_split": {"columns": ["a", "b", "c", "d", "e"], "data": MATRIX}}),
    (InvocationsAdapter, {}, {"dataframe_split": {"columns": ["a", "b", "c", "d", "data"], "data": MATRIX}}),
    (InvocationsAdapter, {}, {"inputs": MATRIX, "instances": MATRIX}),
    (OpenInferenceAdapter, {"model": "m"}, {"id": "7", "inputs": [{"name": "x", "shape": [40, 5], "datatype": "FP64", "data": FLAT}]}),
    (OpenInferenceAdapter, {"model": "m"}, {"inputs": [{"name": "x", "shape": [1, 200], "datatype": "FP64", "data": FLAT}]}),
    (OpenInferenceAdapter, {"model": "m"}, {"inputs": [{"name": "x", "shape": [40, 4], "datatype": "FP64", "data": FLAT}]}),
    (OpenInferenceAdapter, {"model": "m"}, {"inputs": [{"name": "x", "shape": [40, 5], "datatype": "FP64", "data": MATRIX}]}),
    (OpenInferenceAdapter, {"model": "m"}, {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "parameters": {"data": FLAT}}]}),
]  # fmt: skip


@pytest.mark.parametrize(("adapter", "path", "document"), BODIES)
def test_a_request_means_the_same_by_either_reader(
    rows: NumberRows, adapter: Any, path: dict[str, str], document: Any
) -> None:
    body, asked = json.dumps(document).encode(), Asked("application/json", path=path)
    fast, general = adapter(rows).hot(body, asked), adapter().hot(body, asked)
    assert (fast is None) == (general is None)
    if fast is not None:
        assert np.asarray(fast.rows).tolist() == np.asarray(general.rows).tolist()
        assert (fast.model, fast.names, fast.entities, fast.context) == (
            general.model, general.names, general.entities, general.context,
        )  # fmt: skip


def test_the_first_large_body_has_the_program_compiled_and_does_not_wait(rows: NumberRows, tmp_path: Path) -> None:
    later = NumberRows(tmp_path / "plans")
    body = json.dumps({"instances": MATRIX}).encode()
    assert later.take(body[:100], b'"instances"', 2) is None
    assert not (tmp_path / "plans").exists()
    assert later.take(body, b'"instances"', 2) is None
    later.wait(60)
    taken = later.take(body, b'"instances"', 2)
    assert taken is not None
    assert taken[0] == b'{"instances": []}'


def test_without_a_compiler_bodies_are_read_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = NumberRows(tmp_path)
    assert not found.open()
    assert found.take(json.dumps({"instances": MATRIX}).encode(), b'"instances"', 2) is None
