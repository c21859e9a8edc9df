"""The user's own training: a function of the features and the target, named `module:function`.

The function is given a `TrainingTask` and returns an estimator with `predict` (and `predict_proba` where it classifies). It calls nothing of ours: parameters, metrics, data,
code version, environment, cost and lineage are logged as for every other kind of model.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from maestro.core.contract import Output
from maestro.core.errors import BadInput, Refused
from maestro.training.distribution import ALONE, Group
from maestro.training.models.classifier import Classifier
from maestro.training.models.parameters import RESERVED
from maestro.training.models.regressor import Regressor

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from maestro.training.checkpoint import Checkpoints

ALLOWED = "MAESTRO_USER_CODE"
"""The variable of a worker that lists the packages whose functions it runs, separated by commas; `*` allows all, and commands."""
_OWN = frozenset({"function", "task"})
_CLASSES = 50


@dataclass(frozen=True)
class TrainingTask:
    """What a user's function is given.

    `history` may be appended to, one mapping of metrics an epoch; `checkpoints` and `group` may be used, or not.
    """

    features: pd.DataFrame
    target: np.ndarray
    params: dict[str, Any]
    seed: int
    group: Group = ALONE
    checkpoints: Checkpoints | None = None
    history: list[dict[str, float]] = field(default_factory=list)


class FunctionTraining:
    """Calls the function where scikit-learn would be called."""

    def __init__(self, function: Callable[[TrainingTask], Any], name: str, params: dict[str, Any], seed: int) -> None:
        self._function, self._name, self._params, self._seed = function, name, params, seed
        self._group = ALONE
        self._checkpoints: Checkpoints | None = None
        self.history: list[dict[str, float]] = []
        self.fitted: Any = None

    @property
    def classes_(self) -> Any:
        """The classes of the user's model."""
        return self.fitted.classes_

    def get_params(self) -> dict[str, Any]:
        """The user's parameters."""
        return self._params | {"function": self._name}

    def resume_from(self, checkpoints: Checkpoints) -> None:
        """Given to the function."""
        self._checkpoints = checkpoints

    def join(self, group: Group) -> None:
        """Given to the function."""
        self._group = group

    def fit(self, features: pd.DataFrame, target: np.ndarray) -> FunctionTraining:
        """Call the function.

        Raises:
            BadInput: it returned nothing that predicts.
        """
        task = TrainingTask(features, target, self._params, self._seed, self._group, self._checkpoints, self.history)
        self.fitted = self._function(task)
        if not hasattr(self.fitted, "predict"):
            raise BadInput(
                f"{self._name} returned {type(self.fitted).__name__}, which has no predict",
                field="params.function",
                remedy="return the fitted estimator",
            )
        if self._checkpoints is not None:
            self._checkpoints.clear()
        return self

    def predict(self, features: pd.DataFrame) -> Any:
        """By the user's model."""
        return self.fitted.predict(features)

    def predict_proba(self, features: pd.DataFrame) -> Any:
        """By the user's model."""
        return self.fitted.predict_proba(features)


class PythonFunction:
    """`params.function` names it; `params.task` is classification or regression (default: by the target). Every other parameter is the function's own."""

    name = "python"
    target_metric = "f1"
    higher_is_better = Classifier.higher_is_better | Regressor.higher_is_better

    def __init__(self) -> None:
        self._judge: Classifier | Regressor = Classifier()

    def check(self, target: pd.Series) -> None:
        """Judge as classification a target of few whole numbers or of texts, else as regression."""
        few = target.dtype.kind in "iubO" and target.nunique() <= _CLASSES
        self._judge = Classifier() if few else Regressor()
        self._judge.check(target)

    def algorithm(self, params: dict[str, Any]) -> str:
        """The function's name."""
        return _name(params)

    def build(self, params: dict[str, Any], seed: int, *, has_missing: bool = False) -> Any:
        """A training that calls the function.

        Raises:
            BadInput: it cannot be imported.
            Refused: this worker does not run code of that package.
        """
        name = _name(params)
        task = params.get("task")
        if task is not None:
            if task not in {"classification", "regression"}:
                raise BadInput(f"task is {task!r}", field="params.task", remedy="choose classification or regression")
            self._judge = Classifier() if task == "classification" else Regressor()
        own = {key: value for key, value in params.items() if key not in RESERVED | _OWN}
        return FunctionTraining(load_function(name), name, own, seed)

    def metrics(self, model: Any, features: pd.DataFrame, target: np.ndarray) -> dict[str, float]:
        """Those of a classifier or of a regressor."""
        if isinstance(self._judge, Classifier) and not hasattr(model, "predict_proba"):
            from sklearn import metrics as measure

            return {"accuracy": float(measure.accuracy_score(target, model.predict(features)))}
        return self._judge.metrics(model, features, target)

    def output(self, model: Any) -> Output:
        """As judged."""
        return self._judge.output(model)


def load_function(name: str) -> Callable[[TrainingTask], Any]:
    """The function called `module:function`, of a package that this worker allows.

    Raises:
        BadInput: it cannot be imported; the reason is given.
        Refused: the worker's `MAESTRO_USER_CODE` does not name its package.
    """
    module, _, attribute = name.partition(":")
    check_allowed(module)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise BadInput(
            f"{name} cannot be imported: {error}",
            field="params.function",
            remedy="put its package on the worker's PYTHONPATH",
        ) from error
    if not callable(found):
        raise BadInput(f"{name} cannot be called", field="params.function", remedy="name a function")
    function: Callable[[TrainingTask], Any] = found
    return function


def check_allowed(module: str | None) -> None:
    """Refuse code of a package that the worker does not allow; None asks for any program.

    Raises:
        Refused: it is not listed.
    """
    allowed = {item.strip() for item in os.environ.get(ALLOWED, "maestro").split(",") if item.strip()}
    if "*" in allowed:
        return
    if module is None or not any(module == item or module.startswith(item + ".") for item in allowed):
        what = f"code of {module!r}" if module else "commands"
        raise Refused(
            f"this worker does not run {what}", field="params.function" if module else "params.command",
            remedy=f"have the operator set {ALLOWED} for the worker: users' code runs with the worker's own rights",
        )  # fmt: skip


def _name(params: dict[str, Any]) -> str:
    name = params.get("function")
    module, _, attribute = str(name).partition(":")
    if (
        not isinstance(name, str)
        or not attribute
        or not all(part.isidentifier() for part in f"{module}.{attribute}".split("."))
    ):
        raise BadInput(f"function is {name!r}", field="params.function", remedy="write package.module:function")
    return name
