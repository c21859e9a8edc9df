"""Kinds of model by name: built in, or plugged in by the entry point group `maestro.model_types`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from maestro.core.errors import BadInput
from maestro.training.models._base import ModelType
from maestro.training.models.classifier import Classifier
from maestro.training.models.regressor import Regressor

__all__ = ["GROUP", "MODEL_TYPES", "ModelType", "check_model_type", "known_model_types", "model_type"]

GROUP = "maestro.model_types"
MODEL_TYPES: dict[str, Callable[[], ModelType]] = {"classifier": Classifier, "regressor": Regressor}
"""What comes with Maestro."""


def known_model_types() -> list[str]:
    """Every name that a request may give, sorted."""
    return sorted({*MODEL_TYPES, *(point.name for point in entry_points(group=GROUP))})


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
        BadInput: there is none.

    >>> model_type("classifier").target_metric
    'f1'
    """
    check_model_type(name)
    if name in MODEL_TYPES:
        return MODEL_TYPES[name]()
    factory: Callable[[], ModelType] = next(iter(entry_points(group=GROUP, name=name))).load()
    return factory()
