"""scikit-learn estimators by name, with their parameters checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from maestro.core.errors import BadInput
from maestro.training.models.parameters import RESERVED

Factory = Callable[..., Any]
Task = Literal["classification", "regression"]
BOOSTERS = frozenset({"xgboost", "lightgbm"})
"""Algorithms that are trained by `maestro.training.models.boosting`."""


def choose(table: Mapping[str, Callable[[], Factory]], params: Mapping[str, Any], default: str) -> tuple[str, Factory]:
    """The algorithm that `params["algorithm"]` names and its class.

    Raises:
        BadInput: it is unknown; the known ones are listed.
    """
    name = params.get("algorithm", default)
    if name not in table:
        raise BadInput(
            f"algorithm {name!r} is unknown",
            field="params.algorithm",
            remedy=f"choose one of {', '.join(sorted({*table, *BOOSTERS}))}",
        )
    return str(name), table[str(name)]()


def boosted(params: Mapping[str, Any], task: Task, seed: int) -> Any | None:
    """The training by boosting that `params["algorithm"]` names; None when it names no boosting library.

    Raises:
        BadInput: the library is not installed, or a parameter is wrong.
    """
    name = params.get("algorithm")
    if name not in BOOSTERS:
        return None
    from maestro.training.models.boosting import Boosted

    try:
        return Boosted(str(name), task, params, seed)
    except ImportError as error:
        raise BadInput(
            f"{name} is not installed here: {error}",
            field="params.algorithm",
            remedy=f"install {name}, or choose another algorithm",
        ) from None


def build(factory: Factory, params: Mapping[str, Any], seed: int, *, impute: bool, scale: bool) -> Any:
    """An estimator with the given parameters and seed, after imputation and scaling where asked for.

    Raises:
        BadInput: a parameter is unknown, or its value is refused by the estimator; it is named.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils._param_validation import InvalidParameterError

    model = factory()
    known = model.get_params()
    own = {name: value for name, value in params.items() if name not in RESERVED}
    for name in own:
        if name not in known:
            raise BadInput(
                f"parameter {name!r} is unknown to {type(model).__name__}", field=f"params.{name}",
                remedy=f"it has {', '.join(sorted(known))}",
            )  # fmt: skip
    if "random_state" in known:
        own.setdefault("random_state", seed)
    model.set_params(**own)
    try:
        model._validate_params()
    except InvalidParameterError as error:
        text = str(error)
        culprit = next((name for name in own if f"'{name}'" in text), next(iter(own), "algorithm"))
        raise BadInput(
            f"params.{culprit}: {text.splitlines()[0]}", field=f"params.{culprit}", remedy="correct the value"
        ) from None
    steps: list[tuple[str, Any]] = []
    if impute:
        steps.append(("impute", SimpleImputer(strategy="median", keep_empty_features=True)))
    if scale:
        steps.append(("scale", StandardScaler()))
    return Pipeline([*steps, ("model", model)])
