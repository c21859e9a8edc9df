"""When a trial is hopeless: too many others were at least as good in everything at the same step, or it is too far behind the best one to win."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maestro.core.errors import BadInput
from maestro.decisions.pareto import Direction

KEEP = {"median": 1 / 2, "hyperband": 1 / 3, "race": 1 / 2}
"""Share of the trials at a step that go on, by pruner; a race is one for a single objective, with several it keeps as many as the median."""

STARTUP = 5
"""Trials that have to have come as far before one is judged."""

RACERS = 3
"""Trials that have to have finished before others race against the best of them."""

MARGIN = 1.0
"""Times the usual movement of a trial against the best one that a race allows for."""


def hopeless(
    own: Sequence[float], others: Sequence[Sequence[float]], directions: Sequence[Direction], keep: float
) -> bool:
    """Whether a trial is to end here.

    For one objective this is the median rule (`keep` ½) or successive halving (⅓): it ends when it is not among the best `keep` of
    all. For several, being better becomes dominating: a trial ends when more than `keep` of the others dominate it, so that nothing on
    the front ever ends.

    Args:
        own: the trial's objectives at this step.
        others: those of the trials before it at the same step.
        directions: for each objective whether more or less is better.
        keep: share that goes on, in (0, 1].

    Raises:
        BadInput: `keep` is out of range or a row has another length.

    >>> others = [(0.9, 1.0), (0.8, 1.0), (0.9, 2.0), (0.7, 1.0), (0.6, 0.5)]
    >>> up_down = ("maximize", "minimize")
    >>> hopeless((0.5, 3.0), others, up_down, 0.5), hopeless((0.5, 0.1), others, up_down, 0.5)
    (True, False)
    """
    if not 0.0 < keep <= 1.0:
        raise BadInput(f"keep is {keep}", field="keep", remedy="give a share above 0, at most 1")
    if any(len(row) != len(directions) for row in (own, *others)):
        raise BadInput("a trial has another number of objectives", field="others", remedy="give one value for each")
    if len(others) < STARTUP:
        return False
    sign = np.array([1.0 if direction == "maximize" else -1.0 for direction in directions])
    mine: NDArray[np.float64] = np.asarray(own, dtype=np.float64) * sign
    table: NDArray[np.float64] = np.asarray(others, dtype=np.float64) * sign
    better = (table >= mine).all(axis=1) & (table > mine).any(axis=1)
    return bool(better.mean() > keep)


def outrun(own: float, step: int, finished: Sequence[Sequence[float]], margin: float = MARGIN) -> bool:
    """Whether a trial with one objective, of which more is better, is too far behind the best one at the same step to come out ahead.

    How far a trial may still move between this step and the end is what finished trials moved against the best one: the root mean
    square of it, times `margin`. Trials are compared at the same folds, so that what makes a fold hard cancels out. This is a race
    (Maron and Moore, Hoeffding Races, 1994) with the observed spread in place of a bound.

    Args:
        own: the trial's value at this step.
        step: counted from 1.
        finished: the values of finished trials after each of their steps, equally many.
        margin: how many times the usual movement is allowed for.

    Raises:
        BadInput: a finished trial has another number of steps, or none of them is this one.

    >>> paths = [(0.90, 0.92), (0.80, 0.83), (0.85, 0.86)]
    >>> outrun(0.84, 1, paths), outrun(0.895, 1, paths), outrun(0.5, 1, paths[:2])
    (True, False, False)
    """
    if any(len(path) != len(finished[0]) for path in finished):
        raise BadInput("trials have other numbers of steps", field="finished", remedy="give a value for each step")
    if len(finished) < RACERS:
        return False
    if not 1 <= step <= len(finished[0]):
        raise BadInput(f"step is {step}", field="step", remedy=f"give 1 to {len(finished[0])}")
    paths: NDArray[np.float64] = np.asarray(finished, dtype=np.float64)
    best = int(paths[:, -1].argmax())
    behind = np.delete(paths - paths[best], best, axis=0)
    moved = behind[:, -1] - behind[:, step - 1]
    return bool(own - paths[best, step - 1] + margin * float(np.sqrt(np.mean(moved**2))) < 0.0)
