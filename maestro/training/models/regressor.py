"""Regression with scikit-learn, XGBoost and LightGBM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maestro.core.contract import Output
from maestro.core.errors import BadInput
from maestro.training.models import algorithms

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def _ridge() -> Any:
    from sklearn.linear_model import Ridge

    return Ridge


def _forest() -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor


def _boosting() -> Any:
    from sklearn.ensemble import GradientBoostingRegressor

    return GradientBoostingRegressor


def _histogram_boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor


class Regressor:
    """A number. `params.algorithm`: ridge, random_forest (default), gradient_boosting, hist_gradient_boosting,
    xgboost, lightgbm.
    """

    name = "regressor"
    target_metric = "rmse"
    higher_is_better = frozenset({"r2"})
    _table = {
        "ridge": _ridge, "random_forest": _forest, "gradient_boosting": _boosting, "hist_gradient_boosting": _histogram_boosting,
    }  # fmt: skip

    def check(self, target: pd.Series) -> None:
        """Numbers that differ."""
        from pandas.api.types import is_numeric_dtype

        if not is_numeric_dtype(target) or target.nunique() < 2:
            raise BadInput(
                "the target must be numbers that differ",
                field="data.target",
                remedy="choose another target, or model_type classifier",
            )

    def algorithm(self, params: dict[str, Any]) -> str:
        """The chosen algorithm's name."""
        if params.get("algorithm") in algorithms.BOOSTERS:
            return str(params["algorithm"])
        return algorithms.choose(self._table, params, "random_forest")[0]

    def build(self, params: dict[str, Any], seed: int, *, has_missing: bool = False) -> Any:
        """An unfitted pipeline; linear models are given scaled features, boosting bears gaps itself."""
        boosted = algorithms.boosted(params, "regression", seed)
        if boosted is not None:
            return boosted
        name, factory = algorithms.choose(self._table, params, "random_forest")
        return algorithms.build(factory, params, seed, impute=has_missing, scale=name == "ridge")

    def metrics(self, model: Any, features: pd.DataFrame, target: np.ndarray) -> dict[str, float]:
        """mae, rmse, r2, and mape where no target is zero."""
        return number_metrics(target, model.predict(features))

    def output(self, model: Any) -> Output:
        """A regression."""
        return Output(kind="regression")


def number_metrics(target: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """mae, rmse, r2, and mape where no target is zero."""
    from sklearn import metrics as measure

    found = {
        "mae": measure.mean_absolute_error(target, predicted),
        "rmse": measure.root_mean_squared_error(target, predicted),
        "r2": measure.r2_score(target, predicted),
    }
    if (target != 0).all():
        found["mape"] = measure.mean_absolute_percentage_error(target, predicted)
    return {name: float(value) for name, value in found.items()}
