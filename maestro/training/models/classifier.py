"""Classification with scikit-learn, XGBoost and LightGBM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maestro.core.contract import Output
from maestro.core.errors import BadInput
from maestro.training.models import algorithms

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return lambda: LogisticRegression(max_iter=1000)


def _forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier


def _boosting() -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier


def _histogram_boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier


class Classifier:
    """Two or more classes. `params.algorithm`: logistic_regression, random_forest (default), gradient_boosting, hist_gradient_boosting,
    xgboost, lightgbm.
    """

    name = "classifier"
    target_metric = "f1"
    higher_is_better = frozenset({"accuracy", "f1", "precision", "recall", "roc_auc"})
    _table = {
        "logistic_regression": _logistic, "random_forest": _forest, "gradient_boosting": _boosting,
        "hist_gradient_boosting": _histogram_boosting,
    }  # fmt: skip

    def check(self, target: pd.Series) -> None:
        """At least two classes, at most 1,000."""
        classes = target.nunique()
        if not 2 <= classes <= 1000:
            raise BadInput(
                f"the target has {classes} distinct values; a classifier needs 2 to 1000", field="data.target",
                remedy="choose another target, or model_type regressor",
            )  # fmt: skip

    def algorithm(self, params: dict[str, Any]) -> str:
        """The chosen algorithm's name."""
        if params.get("algorithm") in algorithms.BOOSTERS:
            return str(params["algorithm"])
        return algorithms.choose(self._table, params, "random_forest")[0]

    def build(self, params: dict[str, Any], seed: int, *, has_missing: bool = False) -> Any:
        """An unfitted pipeline; linear models are given scaled features, boosting bears gaps itself."""
        boosted = algorithms.boosted(params, "classification", seed)
        if boosted is not None:
            return boosted
        name, factory = algorithms.choose(self._table, params, "random_forest")
        return algorithms.build(factory, params, seed, impute=has_missing, scale=name == "logistic_regression")

    def metrics(self, model: Any, features: pd.DataFrame, target: np.ndarray) -> dict[str, float]:
        """accuracy, f1, precision, recall (macro over more than two classes), log_loss, and roc_auc for two classes."""
        from sklearn import metrics as measure

        predicted = model.predict(features)
        probability = model.predict_proba(features)
        classes = list(model.classes_)
        two = len(classes) == 2
        options: dict[str, Any] = {"average": "binary", "pos_label": classes[1]} if two else {"average": "macro"}
        options["zero_division"] = 0.0
        found = {
            "accuracy": measure.accuracy_score(target, predicted),
            "f1": measure.f1_score(target, predicted, **options),
            "precision": measure.precision_score(target, predicted, **options),
            "recall": measure.recall_score(target, predicted, **options),
            "log_loss": measure.log_loss(target, probability, labels=classes),
        }
        if two and len(set(target.tolist())) == 2:
            found["roc_auc"] = measure.roc_auc_score(target, probability[:, 1])
        return {name: float(value) for name, value in found.items()}

    def output(self, model: Any) -> Output:
        """Classification with the classes that training saw."""
        return Output(kind="classification", classes=tuple(str(value) for value in model.classes_))
