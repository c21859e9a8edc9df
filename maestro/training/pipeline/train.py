"""Step 3, train: build the kind of model that was asked for and fit it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pandas as pd

from maestro.core.errors import BadInput
from maestro.training.checkpoint import Checkpoints
from maestro.training.distribution import ALONE, Group
from maestro.training.models import Distributed, ModelType, Resumable
from maestro.training.pipeline.preprocess import Prepared


@dataclass
class Trained:
    """The fitted estimator, its algorithm, the parameters that it ended up with, the seconds that fitting took.

    `history` holds the metrics of each epoch, where there are epochs; `resumed_at` the step of the checkpoint that training went on from, 0 for none.
    """

    model: Any
    algorithm: str
    params: dict[str, str]
    seconds: float
    history: tuple[dict[str, float], ...] = ()
    resumed_at: int = 0


def train(
    kind: ModelType,
    params: dict[str, Any],
    prepared: Prepared,
    *,
    seed: int = 0,
    checkpoints: Checkpoints | None = None,
    group: Group = ALONE,
) -> Trained:
    """Fit on the training side.

    Args:
        kind: the kind of model.
        params: of the pipeline and the estimator.
        prepared: both sides.
        seed: the only source of randomness.
        checkpoints: kept by an estimator that can be resumed (`maestro.training.models.Resumable`).
        group: the workers that train together, by an estimator that can (`maestro.training.models.Distributed`).

    Raises:
        BadInput: the target or a parameter does not suit the kind of model, or it trains in one process only.
    """
    kind.check(pd.Series(prepared.train_target))
    model = kind.build(params, seed, has_missing=any(feature.nullable for feature in prepared.features))
    if checkpoints is not None and isinstance(model, Resumable):
        model.resume_from(checkpoints)
    if isinstance(model, Distributed):
        model.join(group)
    elif group.world > 1:
        raise BadInput(
            f"{kind.algorithm(params)} trains in one process",
            field="workers",
            remedy="ask for 1 worker, or choose xgboost, lightgbm, pytorch or tensorflow",
        )
    began = time.perf_counter()
    try:
        model.fit(prepared.train, prepared.train_target)
    except (ValueError, TypeError) as error:
        raise BadInput(
            f"the model cannot be fitted: {str(error).splitlines()[0]}", field="params", remedy="correct params or data"
        ) from error
    seconds = time.perf_counter() - began
    final = (model.named_steps["model"] if hasattr(model, "named_steps") else model).get_params()
    shown = {name: str(value) for name, value in sorted(final.items()) if value is not None}
    return Trained(
        getattr(model, "fitted", model), kind.algorithm(params), shown, seconds, tuple(getattr(model, "history", ())),
        int(getattr(model, "resumed_at", 0)),
    )  # fmt: skip
