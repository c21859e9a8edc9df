"""What a trial measures: cross-validation on the training side, reported fold by fold so that a hopeless trial ends early."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from maestro.core.errors import BadInput
from maestro.training.models import Folding, ModelType
from maestro.training.pipeline.preprocess import Prepared
from maestro.training.search.request import StudyRequest


@dataclass
class Measured:
    """Means over the folds, and the seconds spent fitting."""

    metrics: dict[str, float]
    seconds: float


def cross_validate(
    kind: ModelType,
    params: dict[str, Any],
    prepared: Prepared,
    request: StudyRequest,
    report: Callable[[int, dict[str, float], float], None],
) -> Measured:
    """Fit and measure on each fold; the holdout is not touched.

    Args:
        kind: the kind of model.
        params: of this trial.
        prepared: the data.
        request: folds and seed.
        report: called after each fold with its number, the means so far and the seconds so far; may raise to end the trial.

    Raises:
        BadInput: the estimator refuses the parameters or an objective is not a metric of this kind of model.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    target = prepared.train_target
    _, counts = np.unique(target, return_counts=True)
    stratified = kind.name == "classifier" and counts.min() >= request.folds
    splitter = (StratifiedKFold if stratified else KFold)(request.folds, shuffle=True, random_state=request.seed)
    missing = any(feature.nullable for feature in prepared.features)
    found: list[dict[str, float]] = []
    seconds = 0.0
    parts = kind.folds(prepared, request.folds) if isinstance(kind, Folding) else splitter.split(prepared.train, target)
    for step, (fit, test) in enumerate(parts, start=1):
        model = kind.build(params, request.seed, has_missing=missing)
        began = time.perf_counter()
        model.fit(prepared.train.iloc[fit], target[fit])
        seconds += time.perf_counter() - began
        found.append(kind.metrics(model, prepared.train.iloc[test], target[test]))
        means = {name: float(np.mean([fold[name] for fold in found if name in fold])) for name in found[0]}
        unknown = [name for name in request.objectives if name != "seconds" and name not in means]
        if unknown:
            raise BadInput(
                f"objective {unknown[0]!r} is not a metric of {kind.name}",
                field="objectives",
                remedy=f"choose from {', '.join(means)}, seconds",
            )
        report(step, means, seconds)
    return Measured(means | {"seconds": seconds}, seconds)
