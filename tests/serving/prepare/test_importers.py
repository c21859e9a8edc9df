"""Walked trees answer as the library does: on ordinary rows, on missing values, and on both sides of every threshold."""

from __future__ import annotations

import platform
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maestro.core.contract import Feature, ModelContract, Output
from maestro.serving.prepare.importers import NotForest, forest_of
from maestro.serving.prepare.importers._base import floor_single
from maestro.serving.program import compile_program
from maestro.serving.runtimes import ModelFailed
from maestro.serving.runtimes.forest import FILE
from maestro.serving.runtimes.trees import PROGRAM, SOURCE, TreesRuntime
from maestro.serving.table import Batch
from tests.serving.prepare.families import TREES, WIDTH, contract_of, data


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the compiled program, in which one forest after the other is put."""
    folder = tmp_path_factory.mktemp("forest")
    compile_program(SOURCE, folder / PROGRAM)
    return folder


@pytest.fixture(scope="session", params=["16", "32"])
def narrower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program for processors of narrower registers."""
    if request.param == "32" and platform.machine() != "x86_64":
        pytest.skip("registers of 32 bytes are of x86-64")
    folder = tmp_path_factory.mktemp("narrower")
    compile_program(SOURCE, folder / PROGRAM, options=[f"-DFOREST_REGISTERS={request.param}"])
    return folder


@pytest.mark.parametrize("family", ["forest", "forest of numbers", "xgboost", "lightgbm", "histogram boosting"])
def test_registers_of_any_size_give_the_same_answers(program: Path, narrower: Path, family: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, gaps = TREES[family](data(3), 3)
    runtime, boundaries = walked(program, model, gaps=gaps)
    other, _ = walked(narrower, model, gaps=gaps)
    rows = asked(boundaries, 3, gaps=gaps)
    for count in (1, 2, 15, 16, 31, 33, len(rows)):
        ours, theirs = (each.answer(batch_of(rows[:count]), 1.0) for each in (runtime, other))
        assert ours.values.tolist() == theirs.values.tolist()


def walked(folder: Path, model: Any, *, gaps: bool) -> tuple[TreesRuntime, dict[int, NDArray[np.float64]]]:
    forest = forest_of(model, ["float64"] * WIDTH)
    (folder / FILE).write_bytes(forest.encode())
    classes = tuple(str(value) for value in model.classes_.tolist()) if hasattr(model, "classes_") else None
    runtime = TreesRuntime(folder, contract_of(classes=classes, nullable=gaps))
    runtime.load()
    return runtime, forest.boundaries()


def asked(boundaries: dict[int, NDArray[np.float64]], seed: int, *, gaps: bool) -> NDArray[np.float64]:
    """Random rows, then for each row one value at an edge."""
    rng = np.random.default_rng(seed)
    places = [(feature, value) for feature, values in boundaries.items() for value in values.tolist()]
    rows = rng.normal(size=(64 + min(len(places), 600), WIDTH)) * 1.5
    for row, place in enumerate(rng.permutation(len(places))[:600].tolist()):
        feature, value = places[place]
        rows[64 + row, feature] = value
    if gaps:
        rows[rng.random(rows.shape) < 0.1] = np.nan
    return rows


def batch_of(rows: NDArray[np.float64]) -> Batch:
    return Batch(tuple(f"x{i}" for i in range(WIDTH)), ("float64",) * WIDTH, len(rows), np.ascontiguousarray(rows))


@pytest.mark.parametrize("family", TREES)
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 4))
def test_walked_trees_equal_the_original(program: Path, family: str, seed: int, classes: int) -> None:
    found = data(seed, classes)
    with (
        warnings.catch_warnings(),
        pytest.importorskip("threadpoolctl").threadpool_limits(1),
    ):  # threads that wait for each other take longer than the work
        warnings.simplefilter("ignore")
        model, gaps = TREES[family](found, seed)
        runtime, boundaries = walked(program, model, gaps=gaps)
        rows = asked(boundaries, seed, gaps=gaps)
        assert len(rows) > 64
        answers = runtime.answer(batch_of(rows), 1.0)
        assert answers.values.tolist() == model.predict(rows).tolist() or answers.scores is None
        if answers.scores is None:
            assert np.allclose(answers.values, model.predict(rows), rtol=1e-6, atol=1e-6)
        else:
            assert np.abs(answers.scores - model.predict_proba(rows)).max() < 1e-6
        for row in (0, 1, len(rows) - 1):
            alone = runtime.answer(batch_of(rows[row : row + 1]), 1.0).values.tolist()
            assert alone == answers.values[row : row + 1].tolist()


def test_scikit_learn_averages_are_reproduced_bit_for_bit(program: Path) -> None:
    """A tie between classes is then broken as scikit-learn breaks it."""
    found = data(3)
    model, _ = TREES["forest"](found, 3)
    runtime, boundaries = walked(program, model, gaps=False)
    rows = asked(boundaries, 3, gaps=False)
    scores = runtime.answer(batch_of(rows), 1.0).scores
    assert scores is not None
    assert np.array_equal(scores, model.predict_proba(rows))


def test_where_two_classes_are_even_the_library_decides(program: Path) -> None:
    """scikit-learn's boosting takes the second class at a sum of exactly zero, its averages the first at an even vote."""
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

    rows = np.array([[0.0] * WIDTH, [0.0] * WIDTH, [1.0] * WIDTH, [1.0] * WIDTH])
    for model, label in (
        (GradientBoostingClassifier(n_estimators=2), 1),
        (RandomForestClassifier(2, bootstrap=False, random_state=0), 0),
    ):
        fitted = model.fit(rows, [0, 1, 0, 1])
        runtime, _ = walked(program, fitted, gaps=False)
        assert runtime.answer(batch_of(rows), 1.0).values.tolist() == fitted.predict(rows).tolist() == [label] * 4


def test_what_is_no_forest_is_told_so() -> None:
    from sklearn.feature_selection import SelectKBest
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.tree import DecisionTreeClassifier

    found = data(1)
    with pytest.raises(NotForest, match="LogisticRegression is not made of trees"):
        forest_of(LogisticRegression().fit(found.rows, found.classes), ["float64"] * WIDTH)
    chosen = make_pipeline(SelectKBest(k=2), DecisionTreeClassifier()).fit(found.rows, found.classes)
    with pytest.raises(NotForest, match="SelectKBest"):
        forest_of(chosen, ["float64"] * WIDTH)


@given(st.floats(-1e30, 1e30, allow_nan=False))
def test_a_threshold_is_rounded_so_that_single_precision_compares_the_same(value: float) -> None:
    below = floor_single(np.array([value]))[0]
    assert float(below) <= value < float(np.nextafter(below, np.float32(np.inf)))


@pytest.mark.parametrize("unknown", ["ignore", "error"])
def test_encoded_texts_and_scaled_numbers_are_walked_bit_for_bit(program: Path, unknown: str) -> None:
    """The column transformer of the textbooks: gaps filled and scaled, categories one column each, one of them dropped, others by number."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    rng = np.random.default_rng(5)
    texts = rng.choice(["red", "green", "blue"], 300).astype(object)
    frame = pd.DataFrame(
        {"a": rng.normal(size=300).round(2), "colour": texts, "b": rng.normal(size=300), "size": rng.choice(["s", "m"], 300),
         "level": rng.integers(0, 3, 300).astype(float)}
    )  # fmt: skip
    frame.loc[rng.random(300) < 0.1, "a"] = np.nan
    target = ((frame["colour"] == "red") ^ (frame["b"] > 0.3)).astype(int)
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    encoders = [
        ("colour", OneHotEncoder(handle_unknown=unknown, drop=None if unknown == "ignore" else "first"), ["colour"]),
        ("size", OrdinalEncoder(), ["size"]),
        ("level", OneHotEncoder(), ["level"]),
    ]
    model = make_pipeline(
        ColumnTransformer([("n", numbers, ["b", "a"]), *encoders]), RandomForestClassifier(20, random_state=0)
    ).fit(frame, target)
    features = tuple(
        Feature(name=name, type="string" if name in ("colour", "size") else "float64", nullable=name == "a")
        for name in frame.columns
    )
    contract = ModelContract.build(features, Output(kind="classification", classes=("0", "1")))
    types = [feature.type for feature in features]
    (program / FILE).write_bytes(forest_of(model, types).encode())
    runtime = TreesRuntime(program, contract)
    runtime.load()
    columns = tuple(frame[name].to_numpy() for name in frame.columns)
    answers = runtime.answer(Batch(contract.names, tuple(types), len(frame), None, columns), 1.0)
    assert answers.scores is not None
    assert np.array_equal(answers.scores, model.predict_proba(frame))
    strange = tuple(column[:1].copy() for column in columns)
    strange[1][0] = "purple"
    batch = Batch(contract.names, tuple(types), 1, None, strange)
    if unknown == "error":
        with pytest.raises(ModelFailed, match="purple"):
            runtime.answer(batch, 1.0)
    else:
        row = pd.DataFrame(dict(zip(frame.columns, strange, strict=True)))
        found = runtime.answer(batch, 1.0).scores
        assert found is not None
        assert np.array_equal(found, model.predict_proba(row))
