"""The rate card."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from maestro.core.rates import RateCard, load_rates, parse_rates


@pytest.mark.shows("L4", env="laptop")
def test_the_card_has_the_promised_rates() -> None:
    rates = load_rates()
    assert (rates.cpu_core_hour, rates.gpu_hour, rates.memory_gib_hour, rates.currency) == (0.05, 0.25, 0.0, "USD")


def test_prices_are_exact_decimals() -> None:
    assert load_rates().micros(core_seconds=3600) == 50_000
    spot = RateCard(version="2026-01", cpu_core_hour=0.1, gpu_hour=1.0, spot_factor=0.3)
    assert spot.micros(core_seconds=3600, gpu_seconds=3600, spot=True) == 330_000


@pytest.mark.parametrize(
    "text", ["{version: 2026-01, cpu_core_hour: -1, gpu_hour: 1}", "{version: 2026-01, cpu: 1}", "[1]", "{a: [}"]
)
def test_a_wrong_card_is_refused(text: str) -> None:
    with pytest.raises((ValueError, ValidationError)):
        parse_rates(text)
