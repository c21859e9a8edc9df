"""A kind of model as a user's package brings it, by the entry point group `maestro.model_types`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maestro.core.errors import BadInput
from maestro.training.models.classifier import Classifier
from maestro.training.models.parameters import RESERVED

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Nearest(Classifier):
    """The classes of the nearest rows. `params`: neighbours, weights."""

    name = "nearest"

    def algorithm(self, params: dict[str, Any]) -> str:
        """There is one."""
        return "nearest"

    def build(self, params: dict[str, Any], seed: int, *, has_missing: bool = False) -> Any:
        """An unfitted pipeline."""
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        for name in params.keys() - RESERVED - {"neighbours", "weights"}:
            raise BadInput(f"parameter {name!r} is unknown to nearest", field=f"params.{name}", remedy="neighbours")
        model = KNeighborsClassifier(int(params.get("neighbours", 5)), weights=params.get("weights", "uniform"))
        return make_pipeline(StandardScaler(), model)

    def metrics(self, model: Any, features: pd.DataFrame, target: np.ndarray) -> dict[str, float]:
        """Those of a classifier, and its doubt: the mean share of neighbours that were of another opinion."""
        doubt = float((1.0 - model.predict_proba(features).max(axis=1)).mean())
        return super().metrics(model, features, target) | {"doubt": doubt}
