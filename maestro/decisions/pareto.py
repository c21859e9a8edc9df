"""Several objectives: which candidates no other beats in everything, and which of those to take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maestro.core.errors import BadInput

Floats = NDArray[np.float64]
Direction = Literal["maximize", "minimize"]
Strategy = Literal["balanced", "knee", "weighted", "lexicographic"]


def front(values: ArrayLike, directions: Sequence[Direction]) -> tuple[int, ...]:
    """The indices of the non-dominated candidates, in order; of exact duplicates the first.

    Args:
        values: one row a candidate, one column an objective; finite.
        directions: for each objective whether more or less is better.

    >>> front([[0.9, 10], [0.8, 5], [0.7, 8], [0.9, 10]], ["maximize", "minimize"])
    (0, 1)
    """
    gains = _gains(values, directions)
    kept = []
    for i, row in enumerate(gains):
        at_least = (gains >= row).all(axis=1)
        better = at_least & (gains > row).any(axis=1)
        twin = at_least[:i] & (gains[:i] == row).all(axis=1)
        if not better.any() and not twin.any():
            kept.append(i)
    return tuple(kept)


def select(
    values: ArrayLike,
    directions: Sequence[Direction],
    strategy: str = "balanced",
    *,
    weights: Sequence[float] | None = None,
    tolerance: float = 0.01,
) -> int:
    """The index of the candidate to take from the front.

    Objectives are scaled to [0, 1] over the front, 1 being best. Strategies:

    - `balanced`: the greatest worst objective; ties by the sum.
    - `knee`: the farthest beyond the plane through the best of each objective, where giving up more of one stops paying.
    - `weighted`: the greatest weighted sum; equal weights unless given.
    - `lexicographic`: the best in the first objective, giving up at most `tolerance` of its range for the next, and so on.

    Raises:
        BadInput: an unknown strategy, no candidates, values that are not finite, or wrong weights.

    >>> points = [[1.0, 0.0], [0.8, 0.8], [0.0, 1.0]]
    >>> up = ["maximize", "maximize"]
    >>> [select(points, up, s) for s in ("balanced", "knee", "weighted", "lexicographic")]
    [1, 1, 1, 0]
    """
    if strategy not in get_args(Strategy):
        raise BadInput(
            f"selection strategy {strategy!r} is unknown",
            field="selection_strategy",
            remedy=f"choose one of {', '.join(get_args(Strategy))}",
        )
    gains = _gains(values, directions)
    if not len(gains):
        raise BadInput("no candidate to select from", field="values", remedy="complete at least one trial")
    share = _weights(weights, gains.shape[1])
    members = np.array(front(values, directions))
    low, high = gains[members].min(axis=0), gains[members].max(axis=0)
    span = high - low
    scaled = np.where(span > 0.0, (gains[members] - low) / np.where(span > 0.0, span, 1.0), 1.0)
    if strategy == "balanced":
        order = np.lexsort((-scaled.sum(axis=1), -scaled.min(axis=1)))
        return int(members[order[0]])
    if strategy == "weighted":
        return int(members[int(np.argmax(scaled @ share))])
    if strategy == "knee":
        return int(members[int(np.argmax(_beyond_plane(scaled)))])
    left = np.arange(len(members))
    for column in range(scaled.shape[1]):
        column_values = scaled[left, column]
        left = left[column_values >= column_values.max() - (tolerance if column < scaled.shape[1] - 1 else 0.0)]
    return int(members[left[0]])


def _beyond_plane(scaled: Floats) -> Floats:
    """How far each point lies beyond the plane through the best points of each objective; the sum when they make none."""
    extremes = scaled[[int(np.argmax(scaled[:, k])) for k in range(scaled.shape[1])]]
    try:
        normal = np.linalg.solve(extremes, np.ones(len(extremes)))
    except np.linalg.LinAlgError:
        normal = np.ones(scaled.shape[1])
    if (normal <= 0.0).any():
        normal = np.ones(scaled.shape[1])
    distance: Floats = scaled @ normal / np.linalg.norm(normal)
    return distance


def _gains(values: ArrayLike, directions: Sequence[Direction]) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(directions) or not np.isfinite(table).all():
        raise BadInput(
            "every candidate needs one finite value for each objective",
            field="values",
            remedy="leave failed trials out and name a direction for each objective",
        )
    unknown = [d for d in directions if d not in get_args(Direction)]
    if unknown:
        raise BadInput(f"direction {unknown[0]!r} is unknown", field="directions", remedy="use maximize or minimize")
    gains: Floats = table * np.array([1.0 if d == "maximize" else -1.0 for d in directions])
    return gains


def _weights(weights: Sequence[float] | None, count: int) -> Floats:
    if weights is None:
        return np.full(count, 1.0 / count)
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (count,) or not np.isfinite(given).all() or (given < 0.0).any() or given.sum() <= 0.0:
        raise BadInput("weights do not fit the objectives", field="weights", remedy=f"give {count} weights, 0 or more")
    scaled: Floats = given / given.sum()
    return scaled
