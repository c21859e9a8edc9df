"""Step 3, train: build the kind of model that was asked for and fit it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pandas as pd

from maestro.core.errors import BadInput
from maestro.training.models import ModelType
from maestro.training.pipeline.preprocess import Prepared


@dataclass
class Trained:
    """The fitted estimator, its algorithm, the parameters that it ended up with, and the seconds that fitting took."""

    model: Any
    algorithm: str
    params: dict[str, str]
    seconds: float


def train(kind: ModelType, params: dict[str, Any], prepared: Prepared, *, seed: int = 0) -> Trained:
    """Fit on the training side.

    Raises:
        BadInput: the target or a parameter does not suit the kind of model.
    """
    kind.check(pd.Series(prepared.train_target))
    model = kind.build(params, seed, has_missing=any(feature.nullable for feature in prepared.features))
    began = time.perf_counter()
    try:
        model.fit(prepared.train, prepared.train_target)
    except (ValueError, TypeError) as error:
        raise BadInput(
            f"the model cannot be fitted: {str(error).splitlines()[0]}", field="params", remedy="correct params or data"
        ) from error
    seconds = time.perf_counter() - began
    final = model.named_steps["model"].get_params() if hasattr(model, "named_steps") else params
    shown = {name: str(value) for name, value in sorted(final.items()) if value is not None}
    return Trained(model, kind.algorithm(params), shown, seconds)
