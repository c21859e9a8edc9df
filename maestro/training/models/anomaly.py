"""Rows unlike the others, by an isolation forest (Liu, Ting and Zhou, 2008)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maestro.core.contract import Output
from maestro.core.errors import BadInput
from maestro.training.models import algorithms

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Anomaly:
    """Fitted without labels; the target, 1 for a row that is known to be odd, is only what it is judged by.

    A prediction is −1 for an anomaly and 1 for a usual row, as scikit-learn has it. `max_samples` above the number of rows means all of them.
    """

    name = "anomaly"
    target_metric = "f1"
    higher_is_better = frozenset({"f1", "precision", "recall", "roc_auc", "average_precision"})

    def check(self, target: pd.Series) -> None:
        """Two values, 0 and 1, of which 1 is the rarer."""
        values = set(target.unique().tolist())
        if not values <= {0, 1}:
            raise BadInput(
                "the target of an anomaly model is 1 for odd rows and 0 for the others",
                field="data.target",
                remedy="choose another target, or model_type classifier",
            )

    def algorithm(self, params: dict[str, Any]) -> str:
        """isolation_forest."""
        return algorithms.choose({"isolation_forest": _forest}, params, "isolation_forest")[0]

    def build(self, params: dict[str, Any], seed: int, *, has_missing: bool = False) -> Any:
        """An unfitted pipeline, with imputation where there are gaps."""
        _, factory = algorithms.choose({"isolation_forest": _forest}, params, "isolation_forest")
        return algorithms.build(factory, params, seed, impute=has_missing, scale=False)

    def metrics(self, model: Any, features: pd.DataFrame, target: np.ndarray) -> dict[str, float]:
        """precision, recall, f1 of what is flagged, the share that is flagged; roc_auc and average_precision of the score where both kinds are there."""
        from sklearn import metrics as measure

        odd = target.astype(int)
        flagged = (model.predict(features) == -1).astype(int)
        found = {
            "flagged_share": flagged.mean(),
            "precision": measure.precision_score(odd, flagged, zero_division=0.0),
            "recall": measure.recall_score(odd, flagged, zero_division=0.0),
            "f1": measure.f1_score(odd, flagged, zero_division=0.0),
        }
        if 0 < odd.sum() < len(odd):
            score = -model.score_samples(features)
            found |= {
                "roc_auc": measure.roc_auc_score(odd, score),
                "average_precision": measure.average_precision_score(odd, score),
            }
        return {name: float(value) for name, value in found.items()}

    def output(self, model: Any) -> Output:
        """An anomaly flag."""
        return Output(kind="anomaly", classes=("-1", "1"))


def _forest() -> Any:
    from sklearn.ensemble import IsolationForest

    return IsolationForest
