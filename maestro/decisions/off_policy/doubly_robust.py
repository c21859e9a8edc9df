"""The doubly robust estimator (Dudík, Langford and Li, "Doubly robust policy evaluation and learning", ICML 2011), with cross-fitting."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from maestro.decisions.off_policy._base import Estimate, Floats, Logged, interval
from maestro.decisions.off_policy.overlap import check_overlap

FOLDS = 5
_RIDGE = 1.0


class DoublyRobust:
    """A regression's prediction for the target, corrected by the weighted errors of that regression where the log can tell.

    The regression (ridge on the standardised context for each arm; the arm's mean without a context) predicts decisions that it was not fitted on: entry i is
    in fold i mod 5. Right when either the propensities or the regression are; narrower than IPS as far as the regression explains rewards.
    """

    name: ClassVar[str] = "dr"

    def estimate(self, logged: Logged, *, clip: float | None = None, confidence: float = 0.95) -> Estimate:
        """Estimate."""
        weights = check_overlap(logged, clip, confidence)
        predicted = _predictions(logged)
        rows = np.arange(logged.size)
        errors = logged.reward - predicted[rows, logged.arm]
        terms = (logged.target * predicted).sum(axis=1) + weights * errors
        return interval(self.name, logged, weights, clip, float(terms.mean()), terms, confidence)


def _predictions(logged: Logged) -> Floats:
    """The reward expected of every arm for every decision, units × arms, each from the other folds."""
    size, arms = logged.target.shape
    result = np.empty((size, arms))
    fold = np.arange(size) % FOLDS
    for held in range(FOLDS):
        fit, out = fold != held, fold == held
        x = _design(logged.context, fit)
        for arm in range(arms):
            mine = fit & (logged.arm == arm)
            result[out, arm] = _ridge(x[mine], logged.reward[mine], x[out], float(logged.reward[fit].mean()))
    return result


def _design(context: Floats | None, fit: np.typing.NDArray[np.bool_]) -> Floats:
    if context is None or not context.shape[1]:
        return np.empty((fit.size, 0))
    known = np.where(np.isnan(context), np.nan, context)
    seen = known[fit]
    counted = np.maximum((~np.isnan(seen)).sum(axis=0), 1)
    centre = np.nansum(seen, axis=0) / counted
    spread = np.sqrt(np.nansum((seen - centre) ** 2, axis=0) / counted)
    return np.where(np.isnan(known), 0.0, (known - centre) / np.where(spread > 0, spread, 1.0))


def _ridge(x: Floats, reward: Floats, wanted: Floats, prior: float) -> Floats:
    """Ridge regression around the arm's mean; an arm without a reward is expected to bring the mean of all."""
    if not reward.size:
        return np.full(len(wanted), prior)
    mean = (reward.sum() + _RIDGE * prior) / (reward.size + _RIDGE)
    if not x.shape[1]:
        return np.full(len(wanted), mean)
    centre = x.mean(axis=0)
    x = x - centre
    slopes = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ (reward - mean))
    result: Floats = mean + (wanted - centre) @ slopes
    return result
