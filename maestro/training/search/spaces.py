"""What may be searched: ranges by parameter, and the spaces that were promised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field, model_validator

from maestro.core.errors import BadInput
from maestro.core.model import Model
from maestro.training.models import PROGRAMS, known_model_types

if TYPE_CHECKING:
    from optuna import Trial


_WIDEST = 1e300
"""Beyond it a range cannot be divided."""
_EXACT = 2**53 - 1
"""Up to which JSON, and the numbers that samplers reckon with, hold whole numbers exactly."""

_R = TypeVar("_R", "IntRange", "FloatRange")


def _ordered(item: _R) -> _R:
    if not item.low < item.high:
        raise ValueError("low must be below high")
    if item.high - item.low > _WIDEST:
        raise ValueError("low and high are too far apart")
    if item.log and item.low <= 0:
        raise ValueError("low must be above 0 on a logarithmic range")
    return item


class IntRange(Model):
    """Whole numbers from `low` to `high`."""

    kind: Literal["int"] = "int"
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _is_ordered(self) -> IntRange:
        if max(-self.low, self.high) > _EXACT:
            raise ValueError("low and high are beyond 2**53 - 1, up to which whole numbers are exact")
        return _ordered(self)


class FloatRange(Model):
    """Numbers from `low` to `high`."""

    kind: Literal["float"] = "float"
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _is_ordered(self) -> FloatRange:
        return _ordered(self)


class Choice(Model):
    """One of a few values."""

    kind: Literal["choice"] = "choice"
    values: tuple[str | int | float | None, ...] = Field(min_length=1)


Dimension = Annotated[IntRange | FloatRange | Choice, Field(discriminator="kind")]


class Space(Model):
    """A kind of model, its fixed parameters and what is searched."""

    model_type: str
    fixed: dict[str, Any] = {}
    dimensions: dict[str, Dimension] = Field(min_length=1)

    @property
    def numeric(self) -> int:
        """How many dimensions are numbers."""
        return sum(not isinstance(dimension, Choice) for dimension in self.dimensions.values())

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """The parameters of one trial."""
        chosen: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            if isinstance(dimension, IntRange):
                chosen[name] = trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)
            elif isinstance(dimension, FloatRange):
                chosen[name] = trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
            else:
                chosen[name] = trial.suggest_categorical(name, list(dimension.values))
        return self.fixed | chosen

    def grid(self, points: int = 3) -> dict[str, list[Any]]:
        """At most `points` values of each dimension, spread evenly (evenly in the logarithm where it is searched so)."""
        return {name: _points(dimension, points) for name, dimension in self.dimensions.items()}


SPACES: dict[str, Space] = {
    "forecast": Space(
        model_type="forecast",
        dimensions={
            "n_estimators": IntRange(low=50, high=500), "learning_rate": FloatRange(low=0.01, high=0.3, log=True),
            "max_depth": IntRange(low=3, high=15), "min_child_samples": IntRange(low=5, high=100),
            "subsample": FloatRange(low=0.5, high=1.0), "colsample_bytree": FloatRange(low=0.5, high=1.0),
        },
    ),
    "anomaly": Space(
        model_type="anomaly",
        dimensions={
            "n_estimators": IntRange(low=50, high=300), "contamination": FloatRange(low=0.01, high=0.3),
            "max_samples": Choice(values=("auto", 256, 512, 1024)),
        },
    ),
    "random_forest": Space(
        model_type="classifier", fixed={"algorithm": "random_forest"},
        dimensions={
            "n_estimators": IntRange(low=10, high=200, log=True), "max_depth": IntRange(low=2, high=20),
            "min_samples_leaf": IntRange(low=1, high=20, log=True), "max_features": FloatRange(low=0.05, high=1.0),
        },
    ),
    "gradient_boosting": Space(
        model_type="classifier", fixed={"algorithm": "gradient_boosting"},
        dimensions={
            "n_estimators": IntRange(low=20, high=200, log=True), "learning_rate": FloatRange(low=0.01, high=0.5, log=True),
            "max_depth": IntRange(low=1, high=6), "subsample": FloatRange(low=0.5, high=1.0),
        },
    ),
    "logistic_regression": Space(
        model_type="classifier", fixed={"algorithm": "logistic_regression", "max_iter": 500},
        dimensions={"C": FloatRange(low=1e-4, high=100.0, log=True)},
    ),
}  # fmt: skip
"""The built-in spaces: `forecast` (LightGBM) and `anomaly` (isolation forest) as promised, and three of scikit-learn."""


def space(name: str) -> Space:
    """A built-in space.

    Raises:
        BadInput: there is none; the known ones are listed.
    """
    if name not in SPACES:
        raise BadInput(
            f"search space {name!r} is unknown",
            field="space",
            remedy=f"choose one of {', '.join(SPACES)}, or with dimensions a kind of model: {', '.join(_kinds())}",
        )
    return SPACES[name]


def space_of(name: str, dimensions: dict[str, Dimension] | None, params: dict[str, Any]) -> Space:
    """The space that a study asks for.

    Args:
        name: a built-in space, or a kind of model, be it built in or plugged in.
        dimensions: instead of a built-in space's own; a kind of model has none.
        params: of the model that are not searched.

    Raises:
        BadInput: the name is unknown, a kind of model has no dimensions, or a parameter is fixed and searched.
    """
    if name in SPACES or name not in _kinds():
        base = space(name)
    elif dimensions is None:
        raise BadInput(
            f"kind of model {name!r} has no ranges of its own", field="dimensions",
            remedy='say in dimensions what is searched, such as {"depth": {"kind": "int", "low": 1, "high": 9}}',
        )  # fmt: skip
    else:
        base = Space(model_type=name, dimensions=dimensions)
    if params.keys() & {"algorithm"} & base.fixed.keys():
        raise BadInput(
            f"params.algorithm cannot be given: space {name!r} has its own", field="params.algorithm",
            remedy=f"search the kind of model {base.model_type!r} with dimensions, or leave it out",
        )  # fmt: skip
    searched = dimensions or base.dimensions
    if both := sorted(params.keys() & searched.keys()):
        raise BadInput(
            f"params.{both[0]} is fixed and searched", field=f"params.{both[0]}",
            remedy="leave it out of params, or give dimensions without it",
        )  # fmt: skip
    return Space(model_type=base.model_type, fixed=base.fixed | params, dimensions=searched)


def _kinds() -> list[str]:
    return [name for name in known_model_types() if name not in PROGRAMS]


def _points(dimension: IntRange | FloatRange | Choice, points: int) -> list[Any]:
    import numpy as np

    if isinstance(dimension, Choice):
        return list(dimension.values)
    spread = np.geomspace if dimension.log else np.linspace
    values = spread(dimension.low, dimension.high, points)
    if isinstance(dimension, IntRange):
        return sorted({round(float(value)) for value in values})
    return [float(value) for value in values]
