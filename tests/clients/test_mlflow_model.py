"""A model folder is written in a format that runs no code on loading where the model allows it, and answers as the model did."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from maestro.clients.mlflow_model import save_sklearn


@pytest.mark.filterwarnings("ignore:.*type hint is inferred:UserWarning")  # MLflow about its own import
@pytest.mark.parametrize("estimator", [LogisticRegression(), GradientBoostingClassifier(n_estimators=3)])
def test_the_folder_holds_no_pickle_and_answers_the_same(tmp_path: Path, estimator: object) -> None:
    rng = np.random.default_rng(0)
    inputs = pd.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "c"])
    target = (inputs["a"] + rng.normal(scale=0.1, size=60) > 0).astype(int)
    model = estimator.fit(inputs, target)  # type: ignore[attr-defined]
    folder = tmp_path / "model"
    save_sklearn(
        folder,
        model,
        inputs=inputs,
        outputs=model.predict(inputs),
        run_id=None,
        model_id=None,
        requirements=[f"scikit-learn=={version('scikit-learn')}"],
    )
    assert not list(folder.rglob("*.pkl"))
    import mlflow

    again = mlflow.pyfunc.load_model(str(folder)).predict(inputs)
    assert list(again) == list(model.predict(inputs))
