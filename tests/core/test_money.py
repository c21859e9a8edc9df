"""Money divides without losing any."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.core.money import format_usd, from_usd, round_micros, split, to_usd
from maestro.core.rates import load_rates, parse_rates

_weights = st.lists(st.integers(0, 10**6) | st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=9).filter(
    lambda weights: sum(weights) > 0
)


@pytest.mark.shows("L4", env="laptop")
@given(st.integers(-(10**12), 10**12), _weights)
def test_parts_add_up_and_are_within_one_of_their_share(total: int, weights: list[float]) -> None:
    parts = split(total, weights)
    assert sum(parts) == total
    whole = sum(Fraction(weight) for weight in weights)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * Fraction(weight) / whole) <= 1


@given(st.integers(-(10**15), 10**15))
def test_dollars_survive_a_round_trip(micros: int) -> None:
    assert from_usd(to_usd(micros)) == micros


@pytest.mark.parametrize("weights", [[], [0, 0], [-1, 2], [float("nan")], [float("inf")]])
def test_weights_that_divide_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        split(5, weights)


@pytest.mark.shows("L4", env="laptop")
def test_the_promised_rates() -> None:
    rates = load_rates()
    assert round_micros(rates.micros(gpu_seconds=3600)) == 250_000
    assert round_micros(rates.micros(core_seconds=3600)) == 50_000
    assert round_micros(rates.micros(core_seconds=4 * 3600)) == 200_000
    assert format_usd(round_micros(rates.micros(core_seconds=4 * 3600))) == "$0.2000"


@pytest.mark.parametrize(
    "text",
    [
        "version: [",
        "{version: 2026-01, cpu_core_hour: 0.05}",
        "{version: 2026-01, cpu_core_hour: -1, gpu_hour: 1}",
        "{version: 2026-01, cpu_core_hour: 1, gpu_hour: 1, gpus: 1}",
    ],
)
def test_a_wrong_rate_card_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate card|RateCard"):
        parse_rates(text)
