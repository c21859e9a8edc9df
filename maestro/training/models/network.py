"""A network on rows of features, fitted by PyTorch or TensorFlow, as an estimator: what is saved are numbers, not the framework's objects.

Layers: fully connected with ReLU, as wide as `hidden` says; features are scaled by their mean and spread in training. The finished estimator answers with numpy alone, so a served model
needs neither framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


class Network:
    """Fitted layers.

    Args:
        layers: weight (inputs × outputs) and bias of each layer.
        mean, spread: of each feature in training.
        classes: of a classification; None for a number, which is `scale` × answer + `shift`.
    """

    def __init__(
        self, layers: list[tuple[np.ndarray, np.ndarray]], mean: np.ndarray, spread: np.ndarray, classes: np.ndarray | None,
        scale: float = 1.0, shift: float = 0.0,
    ) -> None:  # fmt: skip
        self.layers, self.mean, self.spread, self.scale, self.shift = layers, mean, spread, scale, shift
        if classes is not None:
            self.classes_ = classes

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """How wide the layers are."""
        return {"hidden": [len(bias) for _, bias in self.layers[:-1]]}

    def decide(self, rows: pd.DataFrame | np.ndarray) -> np.ndarray:
        """The last layer's values (rows × outputs)."""
        values = (np.nan_to_num(np.asarray(rows, dtype=np.float64), nan=np.nan) - self.mean) / self.spread
        # a gap is taken as the feature's mean
        values = np.nan_to_num(values, nan=0.0)
        for at, (weight, bias) in enumerate(self.layers):
            values = values @ weight + bias
            if at < len(self.layers) - 1:
                values = np.maximum(values, 0.0)
        answers: np.ndarray = values
        return answers

    def predict(self, rows: pd.DataFrame | np.ndarray) -> np.ndarray:
        """Labels or numbers."""
        values = self.decide(rows)
        if hasattr(self, "classes_"):
            labels: np.ndarray = self.classes_[values.argmax(axis=1)]
            return labels
        numbers: np.ndarray = values[:, 0] * self.scale + self.shift
        return numbers


class ClassifyingNetwork(Network):
    """One that also tells probabilities."""

    def predict_proba(self, rows: pd.DataFrame | np.ndarray) -> np.ndarray:
        """Probabilities of the classes (rows × classes)."""
        values = self.decide(rows)
        raised = np.exp(values - values.max(axis=1, keepdims=True))
        shares: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
        return shares
