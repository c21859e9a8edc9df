"""Models that are not trees answer by ONNX in double precision as they do by themselves; what has no converter is told so."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maestro.serving.prepare.asking import OriginalAnswers
from maestro.serving.prepare.convert import NotConvertible, convert
from maestro.serving.prepare.proof import TOLERANCE, compare
from maestro.serving.runtimes.onnx import FILE, OnnxRuntime
from maestro.serving.table import Batch
from tests.serving.prepare.families import WIDTH, contract_of, data
from tests.serving.prepare.test_importers import batch_of

NAMES = [f"x{i}" for i in range(WIDTH)]
TYPES = ["float64"] * WIDTH


def linear(kind: str, seed: int) -> tuple[Any, bool]:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    makers: dict[str, tuple[Any, bool]] = {
        "logistic": (make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), False),
        "ridge": (make_pipeline(StandardScaler(), Ridge()), True),
        "bayes": (GaussianNB(), False),
        "network": (make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=60, random_state=seed)), False),
    }
    return makers[kind]


@pytest.mark.parametrize("kind", ["logistic", "ridge", "bayes", "network"])
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 3))
def test_onnx_equals_the_original(tmp_path: Path, kind: str, seed: int, classes: int) -> None:
    found = data(seed, classes)
    model, is_number = linear(kind, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(found.rows, found.numbers if is_number else found.classes)
        (tmp_path / FILE).write_bytes(convert(model, NAMES, TYPES, "double"))
    named = None if is_number else tuple(str(value) for value in model.classes_.tolist())
    runtime = OnnxRuntime(tmp_path, contract_of(classes=named))
    runtime.load()
    rows = np.random.default_rng(seed).normal(size=(300, WIDTH)) * 2
    own = OriginalAnswers(model.predict(rows).tolist(), None if is_number else model.predict_proba(rows))
    verdict = compare(runtime, batch_of(rows), own, is_number=is_number)
    assert verdict.reason is None
    assert verdict.largest_difference <= TOLERANCE


@pytest.mark.parametrize("change", ["score", "class", "number"])
def test_an_answer_that_differs_is_no_proof(tmp_path: Path, change: str) -> None:
    found = data(4)
    model, is_number = linear("ridge" if change == "number" else "logistic", 0)
    model.fit(found.rows, found.numbers if is_number else found.classes)
    (tmp_path / FILE).write_bytes(convert(model, NAMES, TYPES, "double"))
    runtime = OnnxRuntime(tmp_path, contract_of(classes=None if is_number else ("0", "1")))
    runtime.load()
    batch: Batch = batch_of(found.rows)
    values: list[Any] = model.predict(found.rows).tolist()
    scores: Any = None if is_number else model.predict_proba(found.rows)
    assert compare(runtime, batch, OriginalAnswers(values, scores), is_number=is_number).reason is None
    if change == "score":
        scores[7, 0] += 3 * TOLERANCE
    elif change == "class":
        values[7] = 1 - values[7]
    else:
        values[7] += 3 * TOLERANCE * max(abs(values[7]), 1)
    reason = compare(runtime, batch, OriginalAnswers(values, scores), is_number=is_number).reason
    assert reason is not None
    assert ("1 of 120 classes differ" in reason) == (change == "class")


def test_what_has_no_converter_is_told() -> None:
    class Own:
        """A model of nobody's library."""

    with pytest.raises(NotConvertible, match="no converter"):
        convert(Own(), NAMES, TYPES, "double")
