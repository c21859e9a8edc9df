"""scikit-learn estimators by name, with their parameters checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from maestro.core.errors import BadInput

RESERVED = frozenset({"algorithm", "seed", "test_size", "experiment", "study", "on_out_of_range"})
"""Parameters of the pipeline, not of the estimator."""

Factory = Callable[..., Any]


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
            remedy=f"choose one of {', '.join(sorted(table))}",
        )
    return str(name), table[str(name)]()


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
