"""The estimator of a forecast: the change from the newest known value, by LightGBM. Imported where the model is served, so it needs no more than LightGBM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

NEWEST = "lag_0"
"""The feature that holds the newest known value."""


class Forecaster:
    """Trees cannot answer beyond what they saw, so they learn the change, and a rising series goes on rising.

    Args:
        model: the fitted estimator of the change.
        features: its columns in order.
    """

    def __init__(self, model: Any, features: tuple[str, ...]) -> None:
        self.model = model
        self.features = features

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments that made it."""
        return {"model": self.model, "features": self.features}

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """The value at each row's target time."""
        import numpy as np

        values = rows[list(self.features)].to_numpy(dtype=np.float64)
        change: np.ndarray = np.asarray(self.model.predict(values), dtype=np.float64)
        told: np.ndarray = change + values[:, self.features.index(NEWEST)]
        return told


class ForecastTraining:
    """Fits a `Forecaster`: the training of `maestro.training.models.boosting` on the change from the newest value."""

    def __init__(self, training: Any) -> None:
        self.training = training
        self.fitted: Forecaster | None = None

    @property
    def resumed_at(self) -> int:
        """The step that it went on from."""
        return int(self.training.resumed_at)

    def resume_from(self, checkpoints: Any) -> None:
        """Passed on."""
        self.training.resume_from(checkpoints)

    def join(self, group: Any) -> None:
        """Passed on."""
        self.training.join(group)

    def get_params(self) -> dict[str, Any]:
        """Those of the boosting."""
        found: dict[str, Any] = self.training.get_params()
        return found

    def fit(self, rows: pd.DataFrame, target: np.ndarray) -> ForecastTraining:
        """Learn the change."""
        self.training.fit(rows, target - rows[NEWEST].to_numpy())
        self.fitted = Forecaster(self.training.fitted, tuple(rows.columns))
        return self

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """By what was fitted."""
        if self.fitted is None:
            raise AttributeError("fit it first")
        return self.fitted.predict(rows)
