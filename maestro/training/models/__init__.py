"""Kinds of model by name: built in, or plugged in by the entry point group `maestro.model_types`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from maestro.core.errors import BadInput
from maestro.training.models._base import Backtesting, Distributed, Folding, ModelType, Preparing, Resumable
from maestro.training.models.anomaly import Anomaly
from maestro.training.models.classifier import Classifier
from maestro.training.models.forecast import Forecast
from maestro.training.models.python_function import PythonFunction
from maestro.training.models.pytorch import PyTorch
from maestro.training.models.regressor import Regressor
from maestro.training.models.tensorflow import TensorFlow

__all__ = [
    "GROUP",
    "MODEL_TYPES",
    "PROGRAMS",
    "Backtesting",
    "Distributed",
    "Folding",
    "ModelType",
    "Preparing",
    "Resumable",
    "check_model_type",
    "known_model_types",
    "model_type",
]  # fmt: skip

GROUP = "maestro.model_types"
MODEL_TYPES: dict[str, Callable[[], ModelType]] = {
    "anomaly": Anomaly, "classifier": Classifier, "forecast": Forecast, "python": PythonFunction, "pytorch": PyTorch,
    "regressor": Regressor, "tensorflow": TensorFlow,
}  # fmt: skip
"""What comes with Maestro."""
PROGRAMS = frozenset({"command"})
"""Model types that are programs of their own, run by `maestro.training.pipeline.command`."""


def known_model_types() -> list[str]:
    """Every name that a request may give, sorted."""
    return sorted({*MODEL_TYPES, *PROGRAMS, *(point.name for point in entry_points(group=GROUP))})


def check_model_type(name: str, field: str = "model_type") -> None:
    """Refuse a kind of model that does not exist, without importing any.

    Raises:
        BadInput: it is unknown; the known ones are listed.
    """
    if name not in known_model_types():
        raise BadInput(
            f"model type {name!r} is unknown", field=field, remedy=f"choose one of {', '.join(known_model_types())}"
        )


def model_type(name: str) -> ModelType:
    """The kind of model called `name`.

    Raises:
        BadInput: there is none, or what is plugged in cannot be loaded.

    >>> model_type("classifier").target_metric
    'f1'
    """
    check_model_type(name)
    if name in MODEL_TYPES:
        return MODEL_TYPES[name]()
    if name in PROGRAMS:
        raise BadInput(
            f"model type {name!r} is a program, not a model", field="model_type", remedy="submit it as a job"
        )
    point = next(iter(entry_points(group=GROUP, name=name)))
    try:
        kind: ModelType = point.load()()
    except Exception as error:  # other people's code
        raise BadInput(
            f"model type {name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}",
            field="model_type", remedy="correct or install again the package that brings it",
        ) from error  # fmt: skip
    return kind
