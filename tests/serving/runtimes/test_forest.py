"""Bytes of a forest come from a process that may have run a model's code: nothing in them may lead C astray."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maestro.core.errors import BadInput
from maestro.serving.prepare.importers import forest_of
from maestro.serving.program import COMPILERS, NoCompiler, compile_program, compiled_before
from maestro.serving.runtimes import ModelFailed
from maestro.serving.runtimes.forest import FILE, decode
from maestro.serving.runtimes.trees import PROGRAM, SOURCE, TreesRuntime
from tests.serving.prepare.families import TREES, WIDTH, contract_of, data
from tests.serving.prepare.test_importers import batch_of


@pytest.fixture(scope="module")
def encoded() -> bytes:
    model, _ = TREES["forest"](data(1), 1)
    return forest_of(model, ["float64"] * WIDTH).encode()


def changed(encoded: bytes, **fields: Any) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.decode(encoded) | fields)


def array(values: Any, kind: str) -> list[Any]:
    found = np.asarray(values, dtype=kind)
    return [found.dtype.str, list(found.shape), found.tobytes()]


def test_it_comes_back_as_it_was(encoded: bytes) -> None:
    assert decode(encoded, WIDTH).encode() == encoded


def test_another_width_is_refused(encoded: bytes) -> None:
    with pytest.raises(BadInput, match="feature or category that there is not"):
        decode(encoded, WIDTH - 1)


@pytest.mark.parametrize("name", ["left", "feature", "payload", "roots", "depths", "columns"])
@pytest.mark.parametrize("value", [-1, 2**31 - 1])
def test_an_index_that_leads_out_is_refused(encoded: bytes, name: str, value: int) -> None:
    kind, _, data_ = msgspec.msgpack.decode(encoded)[name]
    values = np.frombuffer(data_, dtype=kind).copy()
    values[len(values) // 2] = value
    with pytest.raises(BadInput):
        decode(changed(encoded, **{name: array(values, kind)}), WIDTH)


@pytest.mark.parametrize(
    "fields",
    [
        {"link": "probit"},
        {"step_kinds": array([[1] * WIDTH], "<i4")},
        {"encoding": {"columns": [[0, "number", 0]], "categories": []}},
        {"encoding": {"columns": [[0, "is", 0]] * WIDTH, "categories": []}},
        {"features": 0},
        {"threshold": array([1.0], "<f4")},
        {"threshold": ["<f4", [3], b"\0"]},
        {"leaves": array([1.0], "<f8")},
        {"start": ["|O", [1], b"12345678"]},
        {"roots": array([], "<i4")},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_does_not_fit_together_is_refused(encoded: bytes, fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        decode(changed(encoded, **fields), WIDTH)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40), st.floats(0, 1))
def test_any_bytes_are_refused_or_harmless(encoded: bytes, noise: bytes, place: float) -> None:
    at = int(place * len(encoded))
    with contextlib.suppress(BadInput):
        forest = decode(encoded[:at] + noise + encoded[at + len(noise) :], WIDTH)
        assert int(forest.left.max()) < len(forest.nodes())
        assert int(forest.payload.max()) < len(forest.leaves)


def test_a_value_beyond_single_precision_fails_as_in_the_library(encoded: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(encoded)
    compile_program(SOURCE, tmp_path / PROGRAM)
    runtime = TreesRuntime(tmp_path, contract_of(classes=("0", "1")))
    runtime.load()
    rows = np.zeros((3, WIDTH))
    rows[1, 2] = 1e39
    with pytest.raises(ModelFailed, match="single precision"):
        runtime.predict(batch_of(rows), 1.0)
    rows[1, 2] = 1e38
    assert len(runtime.predict(batch_of(rows), 1.0).values) == 3


def test_classes_that_the_contract_does_not_name_are_refused(encoded: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(encoded)
    with pytest.raises(BadInput, match="2 scores"):
        TreesRuntime(tmp_path, contract_of(classes=("0", "1", "2"))).load()
    with pytest.raises(BadInput, match="2 numbers a row"):
        TreesRuntime(tmp_path, contract_of(classes=None)).load()


def test_what_was_compiled_beside_its_source_needs_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / SOURCE.name
    source.write_bytes(SOURCE.read_bytes())
    compile_program(source, compiled_before(source))
    monkeypatch.setenv("PATH", str(tmp_path))
    compile_program(source, tmp_path / PROGRAM)
    assert (tmp_path / PROGRAM).read_bytes() == compiled_before(source).read_bytes()
    source.write_text("/* another text */")
    with pytest.raises(NoCompiler):
        compile_program(source, tmp_path / PROGRAM)


def test_without_a_compiler_the_reason_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompiler, match=COMPILERS[0]):
        compile_program(SOURCE, tmp_path / PROGRAM)
