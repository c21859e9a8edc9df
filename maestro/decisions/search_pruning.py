"""When a trial with several objectives is hopeless: too many others were at least as good in everything at the same step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maestro.core.errors import BadInput
from maestro.decisions.pareto import Direction

KEEP = {"median": 1 / 2, "hyperband": 1 / 3}
"""Share of the trials at a step that go on, by pruner."""

STARTUP = 5
"""Trials that have to have come as far before one is judged."""


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
