"""What the kinds of model of the deep-learning frameworks share: the task, the judging, and a clear word where the framework is missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from maestro.core.contract import Output
from maestro.core.errors import BadInput
from maestro.training.checkpoint import Checkpoints
from maestro.training.distribution import Group
from maestro.training.models.classifier import Classifier
from maestro.training.models.network_training import Layers, NetworkTraining, Plan
from maestro.training.models.regressor import Regressor

if TYPE_CHECKING:
    import pandas as pd


class Framework(ABC):
    """What the kinds of both frameworks share: task, judging, output."""

    name = ""
    package = ""
    target_metric = "f1"
    higher_is_better = Classifier.higher_is_better | Regressor.higher_is_better

    def __init__(self) -> None:
        self._judge: Classifier | Regressor = Classifier()

    def check(self, target: pd.Series) -> None:
        """Classes where the target is few whole numbers, else numbers."""
        self._judge = Classifier() if target.dtype.kind in "iub" and target.nunique() <= 100 else Regressor()
        self._judge.check(target)

    def algorithm(self, params: dict[str, Any]) -> str:
        """The framework's name."""
        return f"{self.name}_network"

    def build(self, params: dict[str, Any], seed: int, *, has_missing: bool = False) -> Any:
        """An unfitted training; gaps are taken as the feature's mean.

        Raises:
            BadInput: the framework is not installed, or a parameter is wrong.
        """
        from importlib.util import find_spec

        task = params.get("task")
        if task is not None:
            if task not in {"classification", "regression"}:
                raise BadInput(f"task is {task!r}", field="params.task", remedy="choose classification or regression")
            self._judge = Classifier() if task == "classification" else Regressor()
        plan = Plan.of(params, seed)
        if find_spec(self.package) is None:
            raise BadInput(
                f"{self.package} is not installed here",
                field="model_type",
                remedy=f"run the job where {self.package} is, such as our {self.name} image, or choose classifier",
            )
        return NetworkTraining(self._fit, isinstance(self._judge, Classifier), plan)

    def metrics(self, model: Any, features: pd.DataFrame, target: np.ndarray) -> dict[str, float]:
        """Those of a classifier or of a regressor."""
        return self._judge.metrics(model, features, target)

    def output(self, model: Any) -> Output:
        """As judged."""
        return self._judge.output(model)

    @staticmethod
    @abstractmethod
    def _fit(
        plan: Plan, widths: list[int], rows: np.ndarray, answers: np.ndarray, group: Group, checkpoints: Checkpoints | None,
        told: Callable[[int, float, float], None],
    ) -> tuple[Layers, int]:  # fmt: skip
        """Fit layers of these widths."""
