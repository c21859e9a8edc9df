"""The Pareto front and what to take from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from maestro.core.errors import BadInput
from maestro.decisions.pareto import Direction, front, select

UP: list[Direction] = ["maximize", "maximize"]
tables = st.integers(1, 3).flatmap(
    lambda k: st.lists(st.lists(st.integers(-5, 5), min_size=k, max_size=k), min_size=1, max_size=15)
)


@pytest.mark.shows("C6", env="laptop")
@given(tables)
def test_the_front_is_what_nothing_beats(rows: list[list[int]]) -> None:
    values: NDArray[np.float64] = np.array(rows, dtype=np.float64)
    directions: list[Direction] = ["minimize"] * values.shape[1]
    members = front(values, directions)
    assert members

    def beats(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
        return bool((a <= b).all() and (a < b).any())

    for i in range(len(values)):
        beaten = any(beats(other, values[i]) for other in values)
        assert (i in members) == (not beaten and not any((values[j] == values[i]).all() for j in range(i)))


@pytest.mark.shows("C6", env="laptop")
@given(tables, st.sampled_from(["balanced", "knee", "weighted", "lexicographic"]))
def test_every_strategy_takes_from_the_front_and_scale_does_not_matter(rows: list[list[int]], strategy: str) -> None:
    values = np.array(rows, dtype=np.float64)
    directions: list[Direction] = ["maximize"] * values.shape[1]
    chosen = select(values, directions, strategy)
    assert chosen in front(values, directions)
    assert select(values * 1024.0, directions, strategy) == chosen


@pytest.mark.shows("C6", env="laptop")
def test_the_strategies_differ_where_they_should() -> None:
    points = [[1.0, 0.0], [0.97, 0.6], [0.75, 0.75], [0.0, 1.0]]
    assert select(points, UP, "lexicographic") == 0
    assert select(points, UP, "lexicographic", tolerance=0.05) == 1
    assert select(points, UP, "balanced") == 2
    assert select(points, UP, "knee") == 1
    assert select(points, UP, "weighted", weights=[0.0, 1.0]) == 3


@pytest.mark.shows("C6", env="laptop")
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"strategy": "best"}, "selection_strategy"),
        ({"strategy": "weighted", "weights": [1.0]}, "weights"),
        ({"strategy": "weighted", "weights": [-1.0, 2.0]}, "weights"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], field: str) -> None:
    with pytest.raises(BadInput) as caught:
        select([[1.0, 2.0]], UP, **options)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_bad_values_are_refused() -> None:
    empty: NDArray[np.float64] = np.zeros((0, 2))
    for values in ([[1.0]], [[1.0, float("nan")]], empty):
        with pytest.raises(BadInput):
            select(values, UP)
    with pytest.raises(BadInput):
        front([[1.0]], ["up"])  # type: ignore[list-item]
