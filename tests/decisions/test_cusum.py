"""CUSUM: one value at a time or many, false signals as rare as promised, and nearly as quick as a chart that was told the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.core.errors import BadInput
from maestro.decisions.cusum import RUN_LENGTH, Cusum, threshold_of


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 700), min_size=1, max_size=8))
def test_many_at_once_are_one_by_one(seed: int, cuts: list[int]) -> None:
    """Bit for bit, however the stream is cut."""
    rng = np.random.default_rng(seed)
    stream = rng.normal(size=1500) + np.repeat([0.0, 1.5, 0.0], 500)
    single, found = Cusum(learn=100), []
    for position, value in enumerate(stream.tolist()):
        single.update(value)
        if single.drift_detected:
            found.append(position)
    many, seen, at = Cusum(learn=100), [], 0
    for cut in [*cuts, stream.size]:
        part = stream[at : at + cut]
        seen += [at + position for position in many.update_many(part)]
        at += part.size
    assert seen == found
    assert many.drift_detected == single.drift_detected


@pytest.mark.shows("I8", env="laptop")
def test_false_signals_are_at_most_one_in_a_hundred_thousand_values() -> None:
    count = sum(len(Cusum().update_many(np.random.default_rng(seed).normal(size=100_000))) for seed in range(12))
    assert count <= 12 + 3 * np.sqrt(12)


def told_the_truth(stream: np.ndarray, start: int, shift: float) -> int:
    """The delay of a chart that knows mean, deviation and shift, at the same rate of false signals."""
    slack = shift / 2
    path = np.cumsum(stream[start - 300 :] - slack)
    stands = path - np.minimum(np.minimum.accumulate(path), 0.0)
    return int(np.argmax(stands > threshold_of(slack, 2 * RUN_LENGTH))) - 299


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_the_delay_is_near_that_of_a_chart_told_the_truth(shift: float) -> None:
    ours, best = [], []
    for seed in range(300):
        stream = np.random.default_rng(seed).normal(size=5600)
        stream[5000:] += shift
        found = Cusum().update_many(stream)
        if (
            found and found[0] >= 5000
        ):  # a chart that has just begun anew knows no baseline: that is a false signal, counted above
            ours.append(found[0] - 4999)
            best.append(told_the_truth(stream, 5000, shift))
    assert len(ours) >= 270
    assert np.mean(ours) < 1.15 * np.mean(best)


def test_what_is_no_number_is_refused_and_changes_nothing() -> None:
    detector, other = Cusum(learn=50), Cusum(learn=50)
    stream = np.random.default_rng(1).normal(size=400)
    for value in (np.nan, np.inf):
        with pytest.raises(BadInput, match="value"):
            detector.update_many(np.array([1.0, value]))
        with pytest.raises(BadInput, match="value"):
            detector.update(float(value))
    assert detector.update_many(stream) == other.update_many(stream)
    with pytest.raises(BadInput, match="run_length"):
        Cusum(run_length=10)
