"""Step 4, evaluate: measure on the holdout, which training did not see."""

from __future__ import annotations

import math
from typing import Any

from maestro.core.errors import BadInput
from maestro.training.models import Backtesting, ModelType
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.pipeline.train import Trained


def evaluate(
    kind: ModelType, trained: Trained, prepared: Prepared, params: dict[str, Any] | None = None, seed: int = 0
) -> dict[str, float]:
    """Metrics of the holdout, and of repeating the past where the kind of model does so, with the number of rows on both sides.

    Raises:
        BadInput: a metric is not finite.
    """
    metrics = kind.metrics(trained.model, prepared.holdout, prepared.holdout_target)
    if isinstance(kind, Backtesting):
        metrics |= kind.backtest(params or {}, prepared, seed)
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise BadInput(f"metric {name} is {value}", field="params", remedy="the model diverged: correct params")
    return metrics | {
        "train_rows": float(len(prepared.train)), "holdout_rows": float(len(prepared.holdout)), "train_seconds": round(trained.seconds, 4),
    }  # fmt: skip
