"""What a trial measures: cross-validation on the training side, reported fold by fold so that a hopeless trial ends early."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from maestro.core.errors import BadInput, MaestroError
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
        ArithmeticError: an objective is not finite, and the mean over more folds would not be either.
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
        for name in request.objectives:
            if not math.isfinite(means.get(name, 0.0)):
                raise ArithmeticError(f"{name} is {means[name]} after fold {step}")
        # neither JSON nor MLflow's database holds what is no number
        means = {name: mean for name, mean in means.items() if math.isfinite(mean)}
        unknown = [name for name in request.objectives if name != "seconds" and name not in means]
        if unknown:
            raise BadInput(
                f"objective {unknown[0]!r} is not a metric of {kind.name}",
                field="objectives",
                remedy=f"choose from {', '.join(means)}, seconds",
            )
        report(step, means, seconds)
    return Measured(means | {"seconds": seconds}, seconds)


class _Ended(Exception):
    """The search has heard enough of this trial."""


def evaluate(
    kind: ModelType,
    request: StudyRequest,
    prepared: Prepared,
    params: dict[str, Any],
    tell: Callable[[dict[str, Any]], None],
    goes_on: Callable[[], bool] | None = None,
) -> int:
    """Cross-validate once and tell the search.

    Args:
        kind: the kind of model.
        request: the study.
        prepared: the data.
        params: of this trial.
        tell: given `{"step": …, "means": …, "seconds": …}` after each fold, and at the end one of `{"done": metrics}`, `{"problem": document}` and
            `{"failed": text}`.
        goes_on: asked after each fold but the last whether to go on; None goes on.

    Returns:
        The exit status.
    """

    def report(step: int, means: dict[str, float], seconds: float) -> None:
        tell({"step": step, "means": means, "seconds": seconds})
        if goes_on is not None and step < request.folds and not goes_on():
            raise _Ended

    try:
        tell({"done": cross_validate(kind, params, prepared, request, report).metrics})
    except (_Ended, BrokenPipeError):
        return 0
    except MaestroError as error:
        tell({"problem": error.problem()})
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - other people's code: its failure is a fact of this trial
        tell({"failed": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()[-4000:]})
        return 1
    return 0
