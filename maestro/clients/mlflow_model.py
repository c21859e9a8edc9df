"""The MLflow model folder of a scikit-learn model: in a format that runs no code on loading where the model allows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maestro.clients.mlflow import import_mlflow

TRUSTED_TYPES = [
    "sklearn.tree._tree.Tree",
    "sklearn._loss._loss.CyHalfBinomialLoss",
    "sklearn._loss._loss.CyHalfMultinomialLoss",
    "sklearn._loss._loss.CyHalfSquaredError",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "numpy.dtype",
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
    "maestro.training.models.forecaster.Forecaster",
]
"""Types that skops may restore: scikit-learn's own, boosters (text or JSON that is parsed) and our forecaster. None runs code on loading."""


def save_sklearn(
    folder: Path,
    model: Any,
    *,
    inputs: Any,
    outputs: Any,
    run_id: str | None,
    model_id: str | None,
    requirements: Sequence[str],
) -> None:
    """Write a scikit-learn model as an MLflow model folder: skops where the model allows it, else cloudpickle.

    Args:
        folder: must not exist.
        model: the fitted estimator.
        inputs: a frame of a few rows of its features.
        outputs: what it predicts for them.
        run_id: the run that made it.
        model_id: the logged model it will be uploaded as.
        requirements: pinned packages; given, so that MLflow need not infer them.
    """
    import_mlflow()
    import mlflow.sklearn
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model as ModelFile
    from mlflow.models import infer_signature

    options: dict[str, Any] = {
        "signature": infer_signature(inputs, outputs), "input_example": inputs.head(2), "pip_requirements": list(requirements),
    }  # fmt: skip
    try:
        mlflow.sklearn.save_model(
            model,
            str(folder),
            mlflow_model=ModelFile(run_id=run_id, model_id=model_id),
            skops_trusted_types=TRUSTED_TYPES,
            **options,
        )
    except MlflowException as error:
        if "skops" not in str(error) and "trusted" not in str(error):
            raise
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
        mlflow.sklearn.save_model(
            model,
            str(folder),
            mlflow_model=ModelFile(run_id=run_id, model_id=model_id),
            serialization_format="cloudpickle",
            **options,
        )
