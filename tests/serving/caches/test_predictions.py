"""The prediction cache: a row's answer comes from the very digest that gave it, or from the model."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from maestro.serving.caches.predictions import PredictionCache, Taken
from maestro.serving.table import Batch, Prediction

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def batch(rows: list[list[float]]) -> Batch:
    matrix = np.array(rows, dtype=np.float64)
    names = tuple(f"x{i}" for i in range(matrix.shape[1]))
    return Batch(names, ("float64",) * len(names), len(matrix), matrix)


def answer(cache: PredictionCache, digest: str, rows: list[list[float]], by: float = 1.0) -> tuple[Prediction, Taken]:
    """As the server does: ask for what is missing only."""
    asked = batch(rows)
    taken = cache.take(digest, asked)
    if not taken.missing:
        return cache.known(taken), taken
    rest = taken.rest(asked)
    assert rest.matrix is not None
    values = [float(row.sum()) * by for row in rest.matrix]
    scores = np.stack([rest.matrix[:, 0], 1 - rest.matrix[:, 0]], axis=1)
    return cache.keep(taken, Prediction(values, scores)), taken


def cache_of(**fields: float) -> PredictionCache:
    return PredictionCache(**({"max_bytes": 100_000, "ttl_s": 60.0} | fields))  # type: ignore[arg-type]


def test_only_rows_that_are_not_known_are_asked() -> None:
    cache = cache_of()
    answer(cache, ONE, [[1.0, 2.0], [3.0, 4.0]])
    prediction, taken = answer(cache, ONE, [[3.0, 4.0], [5.0, 6.0], [1.0, 2.0]])
    assert taken.missing == (1,)
    assert prediction.values == [7.0, 11.0, 3.0]
    assert prediction.scores is not None
    assert prediction.scores.tolist() == [[3.0, -2.0], [5.0, -4.0], [1.0, 0.0]]
    assert (cache.counts.hits, cache.counts.misses) == (2, 3)
    assert answer(cache, ONE, [[1.0, 2.0]])[1].missing == ()


def test_another_version_is_never_answered_from_this_ones_answers() -> None:
    cache = cache_of()
    answer(cache, ONE, [[1.0, 2.0]])
    prediction, taken = answer(cache, TWO, [[1.0, 2.0]], by=10.0)
    assert taken.missing == (0,)
    assert prediction.values == [30.0]
    assert answer(cache, ONE, [[1.0, 2.0]])[0].values == [3.0]


def test_rows_are_the_same_when_their_numbers_are() -> None:
    cache = cache_of()
    other_nan = np.array([0x7FF8_0000_0000_0001], dtype=np.uint64).view(np.float64)[0]
    answer(cache, ONE, [[0.0, math.nan]])
    assert answer(cache, ONE, [[-0.0, float(other_nan)]])[1].missing == ()
    assert answer(cache, ONE, [[math.nan, 0.0]])[1].missing == (0,)
    assert answer(cache, ONE, [[np.nextafter(0.0, 1.0), math.nan]])[1].missing == (0,)


def test_text_is_part_of_the_row_and_cannot_run_into_its_neighbour() -> None:
    cache = cache_of()

    def text(*row: str | None) -> Batch:
        columns = tuple(np.array([value], dtype=object) for value in row)
        return Batch(("a", "b"), ("string", "string"), 1, None, columns)

    cache.keep(cache.take(ONE, text("ab", "c")), Prediction([1]))
    assert cache.take(ONE, text("ab", "c")).missing == ()
    for other in [("a", "bc"), ("ab", None), ("abc", "")]:
        assert cache.take(ONE, text(*other)).missing == (0,)


def test_an_answer_is_asked_anew_when_it_is_too_old() -> None:
    at = [0.0]
    cache = PredictionCache(max_bytes=10_000, ttl_s=1.0, now=lambda: at[0])
    answer(cache, ONE, [[1.0]])
    at[0] = 1.0
    assert answer(cache, ONE, [[1.0]])[1].missing == (0,)


def test_the_bound_in_bytes_is_real() -> None:
    """What the process holds for the cache stays near what the cache says it holds."""
    cache = cache_of(max_bytes=2_000_000)
    rng = np.random.default_rng(1)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(40):
            answer(cache, ONE, rng.normal(size=(250, 3)).tolist())
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 1_900_000 < cache.bytes <= 2_000_000
    assert held < 1.1 * cache.bytes


@pytest.mark.parametrize("size", [0, 300])
def test_a_cache_without_room_remembers_nothing_and_answers_all_the_same(size: int) -> None:
    cache = cache_of(max_bytes=size)
    for _ in range(2):
        prediction, taken = answer(cache, ONE, [[1.0, 2.0]])
        assert taken.missing == (0,)
        assert prediction.values == [3.0]
