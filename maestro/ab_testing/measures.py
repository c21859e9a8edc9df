"""A metric's figures from exposures: what each arm measured, and the form in which the arms are compared."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from maestro.ab_testing.experiment import ExperimentMetric
from maestro.ab_testing.exposures import Exposures, Floats
from maestro.core.errors import BadInput
from maestro.decisions.comparison import Means, Metric, Proportions, Quantiles
from maestro.decisions.cuped import Difference, adjust, combine, difference
from maestro.decisions.moments import Moments

LOOKS = 100
"""Strata of a proportion's comparison over the whole horizon, each of at least `LEAST_PER_LOOK` units."""
LEAST_PER_LOOK = 100


def arm_figures(metric: ExperimentMetric, data: Exposures) -> tuple[float | None, float | None]:
    """Champion's and challenger's value of the metric; None where nothing was measured."""
    figures: list[float | None] = []
    for arm in (~data.challenger, data.challenger):
        if metric.name == "throughput":
            busy = float(data.latency_s[arm].sum())
            figures.append(float((~data.error[arm]).sum()) / busy if busy > 0.0 else None)
            continue
        values, rows = _values(metric, data)
        mine = values[arm[rows]]
        if not mine.size:
            figures.append(None)
        elif metric.compared_by == "quantile":
            figures.append(float(np.quantile(mine, metric.quantile)))
        else:
            figures.append(float(mine.mean()))
    return figures[0], figures[1]


def measure(metric: ExperimentMetric, data: Exposures, *, horizon: int, whole_looks: bool = False) -> Metric:
    """The metric in the form that `maestro.decisions.comparison.compare` takes.

    Args:
        metric: which.
        data: the exposures so far.
        horizon: units that were planned; it fixes the strata of a proportion before the first unit is seen.
        whole_looks: leave out a last stratum that is still filling, so that what an earlier analysis has seen is never
            divided anew (the always-valid mode needs it); at the horizon it is kept.

    Raises:
        BadInput: rewards are not 0 or 1 where accuracy is asked for, or weights changed under a quantile.
    """
    if metric.name == "throughput":
        return Means(_throughput(data))
    values, rows = _values(metric, data)
    challenger = data.challenger[rows]
    if metric.compared_by == "proportion":
        # Strata are of exposures, labelled or not, so that a reward that comes late moves no other unit.
        events = np.zeros(data.units)
        events[rows] = values
        return Proportions(_looks(events, rows, data, horizon, whole_looks))
    if metric.compared_by == "quantile":
        if (
            np.unique(data.revision[rows]).size > 1
            and np.ptp(np.where(data.challenger, data.propensity, 1 - data.propensity)) > 1e-9
        ):
            raise BadInput(
                "the weights changed during the experiment, so that quantiles of whole arms are not comparable",
                field=metric.name,
                remedy="compare the mean of latency, or analyse the exposures of one revision",
            )
        return Quantiles(values[~challenger], values[challenger], metric.quantile)
    return Means(
        _stratified(values, challenger, data.revision[rows], None if data.covariate is None else data.covariate[rows])
    )


def _values(metric: ExperimentMetric, data: Exposures) -> tuple[Floats, NDArray[np.bool_]]:
    """The metric's value of every unit that has one, and which units those are."""
    everyone = np.ones(data.units, dtype=bool)
    if metric.name == "error_rate":
        return data.error.astype(np.float64), everyone
    if metric.name == "latency":
        return data.latency_s, everyone
    rows = np.isfinite(data.reward)
    values = data.reward[rows]
    if metric.name == "accuracy" and not np.isin(values, (0.0, 1.0)).all():
        raise BadInput(
            "accuracy needs rewards of 0 (wrong) and 1 (right)",
            field="reward",
            remedy="compare `reward`, or record 0 and 1",
        )
    return values, rows


def _looks(events: Floats, seen: NDArray[np.bool_], data: Exposures, horizon: int, whole: bool) -> Floats:
    """Counts by stretches of equally many units in order of time, none across a change of revision."""
    n, revision, challenger = data.units, data.revision, data.challenger
    if n == 0:
        return np.zeros((0, 4))
    size = max(LEAST_PER_LOOK, math.ceil(horizon / LOOKS))
    starts = np.concatenate(([0], np.flatnonzero(np.diff(revision)) + 1, [n]))
    edges = np.concatenate([np.arange(a, b, size) for a, b in pairwise(starts.tolist())])
    last = n - int(edges[-1])
    columns = [
        np.add.reduceat(weight.astype(np.float64), edges)
        for weight in (events * ~challenger, seen & ~challenger, events * challenger, seen & challenger)
    ]
    looks: Floats = np.stack(columns, axis=1)
    return looks[:-1] if whole and last < size and n < horizon else looks


def _stratified(
    values: Floats, challenger: NDArray[np.bool_], revision: NDArray[np.int64], covariate: Floats | None
) -> Difference:
    # A unit without a covariate gets the mean of the others: it is kept, and adjusted by nothing.
    x = None if covariate is None else np.where(np.isfinite(covariate), covariate, _mean(covariate))
    strata = []
    for one in np.unique(revision):
        arms = [(revision == one) & arm for arm in (~challenger, challenger)]
        a, b = (Moments.of(values[arm], None if x is None else x[arm]) for arm in arms)
        strata.append(adjust(a, b) if x is not None and min(a.n, b.n) >= 3 else difference(a, b))
    return combine(strata) if strata else Difference(0.0, 0.0, 0, 0, math.inf)


def _mean(covariate: Floats) -> float:
    known = covariate[np.isfinite(covariate)]
    return float(known.mean()) if known.size else 0.0


def _throughput(data: Exposures) -> Difference:
    """Good answers a busy second, by the ratio's linearisation (delta method; Deng, Knoblich and Lu 2018).

    Each unit contributes (good − rate × seconds) / mean seconds around the arm's rate, so that the ratio is compared as
    a mean of units, whatever their latencies.
    """
    arms = []
    for arm in (~data.challenger, data.challenger):
        seconds, good = data.latency_s[arm], (~data.error[arm]).astype(np.float64)
        mean = float(seconds.mean()) if seconds.size else 0.0
        if mean <= 0.0:
            arms.append(Moments.of(np.zeros(seconds.size)))
            continue
        rate = float(good.mean()) / mean
        arms.append(Moments.of(rate + (good - rate * seconds) / mean))
    return difference(arms[0], arms[1])
