"""One suite for every streaming detector: exact positions on fixed streams, and the obligations of the Protocol."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest

from maestro.core.errors import BadInput
from maestro.observability.streaming import DETECTORS, create_detector, signals

SHIFT = 800


def _stream(kind: str) -> list[float]:
    rng = np.random.default_rng(7)
    before, after = rng.normal(0.0, 1.0, SHIFT), rng.normal(0.0, 1.0, SHIFT)
    moved = {"up": after + 1.0, "down": after - 1.0, "wide": after * 4.0, "none": after}[kind]
    return [float(value) for value in np.concatenate((before, moved))]


@lru_cache
def _found(name: str, kind: str) -> tuple[int, ...]:
    return tuple(signals(create_detector(name), _stream(kind)))


EXACT = {
    ("adwin", "up"): [831],
    ("adwin", "down"): [831],
    ("adwin", "none"): [],
    ("cusum", "up"): [809],
    ("cusum", "down"): [819],
    ("kswin", "up"): [211, 576, 820, 1363],
    ("page-hinkley", "up"): [815],
    ("page-hinkley", "down"): [840],
}


@pytest.mark.parametrize(("name", "kind"), sorted(EXACT))
def test_signals_are_exactly_these(name: str, kind: str) -> None:
    assert list(_found(name, kind)) == EXACT[name, kind]


@pytest.mark.parametrize("name", sorted(DETECTORS))
@pytest.mark.parametrize("kind", ["up", "down"])
def test_a_shift_of_one_deviation_is_found_within_a_hundred_values(name: str, kind: str) -> None:
    found = _found(name, kind)
    assert any(SHIFT <= position < SHIFT + 100 for position in found)


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_the_same_stream_gives_the_same_signals(name: str) -> None:
    assert tuple(signals(create_detector(name), _stream("up"))) == _found(name, "up")


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_nothing_is_detected_before_the_first_value(name: str) -> None:
    assert create_detector(name).drift_detected is False


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_a_signal_is_about_the_newest_value_only(name: str) -> None:
    detector = create_detector(name)
    stream = _stream("up")
    first = _found(name, "up")[0]
    for value in stream[: first + 1]:
        detector.update(value)
    assert detector.drift_detected
    detector.update(stream[first + 1])
    assert not detector.drift_detected


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_it_goes_on_after_a_signal(name: str) -> None:
    twice = [*_stream("up"), *(value + 6.0 for value in _stream("none")[:100])]
    assert any(2 * SHIFT <= position < 2 * SHIFT + 100 for position in signals(create_detector(name), twice))


@pytest.mark.parametrize("name", sorted(DETECTORS))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_refused_and_changes_nothing(name: str, value: float) -> None:
    stream = _stream("up")
    detector, found = create_detector(name), []
    for position, each in enumerate(stream[: SHIFT + 100]):
        if position % 50 == 0:
            with pytest.raises(BadInput, match="value"):
                detector.update(value)
        detector.update(each)
        if detector.drift_detected:
            found.append(position)
    assert found == [position for position in _found(name, "up") if position < SHIFT + 100]


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_a_constant_stream_never_signals(name: str) -> None:
    assert signals(create_detector(name), [3.5] * 1000) == []


def test_cusum_sees_any_departure_from_a_constant_baseline() -> None:
    assert signals(create_detector("cusum"), [3.5] * 550 + [3.6] * 3) == [550]


def test_the_factory_refuses_what_it_does_not_know_and_lists_what_it_does() -> None:
    with pytest.raises(BadInput, match="'ddm' is not known") as caught:
        create_detector("ddm")
    assert caught.value.remedy == "use one of: adwin, cusum, kswin, page-hinkley"
    with pytest.raises(BadInput, match="does not take colour"):
        create_detector("adwin", colour="red")
