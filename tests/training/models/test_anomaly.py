"""The isolation forest: fitted without labels, judged by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maestro.core.errors import BadInput
from maestro.training.models import model_type
from maestro.training.pipeline import onnx
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.pipeline.train import train
from tests.training.models.rows import binary


def odd_rows() -> Prepared:
    prepared = binary()
    for rows, target in ((prepared.train, prepared.train_target), (prepared.holdout, prepared.holdout_target)):
        target[:] = 0
        target[::20] = 1
        rows.iloc[::20] += 6.0
    return prepared


@pytest.mark.shows("B23", env="laptop")
def test_odd_rows_are_found_without_labels(tmp_path: Path) -> None:
    prepared = odd_rows()
    kind = model_type("anomaly")
    trained = train(kind, {"contamination": 0.05, "max_samples": 256}, prepared)
    metrics = kind.metrics(trained.model, prepared.holdout, prepared.holdout_target)
    assert metrics["roc_auc"] > 0.99
    assert metrics["f1"] > 0.8
    assert metrics["flagged_share"] == pytest.approx(0.05, abs=0.04)
    shuffled = train(kind, {"contamination": 0.05, "max_samples": 256}, Prepared(
        prepared.train, np.zeros_like(prepared.train_target), prepared.holdout, prepared.holdout_target, prepared.entities, prepared.features
    ))  # fmt: skip
    assert (shuffled.model.predict(prepared.holdout) == trained.model.predict(prepared.holdout)).all()
    assert kind.output(trained.model).kind == "anomaly"
    assert onnx.export(tmp_path / "m.onnx", trained.model, prepared.holdout) is None


def test_labels_and_parameters_are_checked() -> None:
    kind = model_type("anomaly")
    with pytest.raises(BadInput) as caught:
        kind.check(pd.Series([0, 1, 2]))
    assert caught.value.field == "data.target"
    for params, field in (
        ({"contamination": 0.9}, "params.contamination"),
        ({"colour": 1}, "params.colour"),
        ({"algorithm": "lof"}, "params.algorithm"),
    ):
        with pytest.raises(BadInput) as caught:
            kind.build(params, 0)
        assert caught.value.field == field
