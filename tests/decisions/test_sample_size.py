"""Sample sizes: published values, simulation, allocation, and the inflation of the sequential modes."""

from __future__ import annotations

import numpy as np
import pytest

from maestro.decisions.means import mixture_radius, mixture_scale
from maestro.decisions.sample_size import Mode, for_means, for_proportions, inflation


@pytest.mark.shows("H7", env="laptop")
@pytest.mark.parametrize(
    ("p", "q", "power", "n"),
    [(0.10, 0.12, 0.8, 3841), (0.5, 0.6, 0.8, 388), (0.05, 0.10, 0.9, 582), (0.12, 0.10, 0.8, 3841)],
)
def test_proportions_match_the_textbook(p: float, q: float, power: float, n: int) -> None:
    """Fleiss, Levin and Paik 2003, formula 4.14 (no continuity correction)."""
    assert for_proportions(p, q, power=power).champion == pytest.approx(n, abs=1)


@pytest.mark.shows("H7", env="laptop")
def test_the_planned_sample_has_the_planned_power() -> None:
    rng = np.random.default_rng(1)
    for share in (0.5, 0.2):
        size = for_proportions(0.10, 0.13, power=0.9, challenger_share=share)
        a = rng.binomial(size.champion, 0.10, 20_000) / size.champion
        b = rng.binomial(size.challenger, 0.13, 20_000) / size.challenger
        pooled = (a * size.champion + b * size.challenger) / size.total
        z = (b - a) / np.sqrt(pooled * (1 - pooled) * (1 / size.champion + 1 / size.challenger))
        assert float((np.abs(z) > 1.96).mean()) == pytest.approx(0.9, abs=0.012)


@pytest.mark.shows("H7", env="laptop")
def test_allocation_variance_saved_and_direction() -> None:
    even = for_means(0.1, 1.0)
    assert even.champion == even.challenger
    assert for_means(-0.1, 1.0) == even
    uneven = for_means(0.1, 1.0, challenger_share=0.1)
    assert uneven.total == pytest.approx(even.total / (4 * 0.1 * 0.9), rel=1e-3)
    assert for_means(0.1, 1.0, variance_saved=0.5).total == pytest.approx(even.total / 2, rel=1e-2)
    assert for_means(0.1, 1.0, sd_challenger=2.0).total == pytest.approx(even.total * 2.5, rel=1e-2)


@pytest.mark.shows("H7", "H8", env="laptop")
def test_sequential_modes_cost_more_at_most_and_less_in_the_mean() -> None:
    modes: tuple[Mode, ...] = ("fixed", "planned", "always_valid")
    sizes = [for_means(0.1, 1.0, power=0.9, mode=mode) for mode in modes]
    assert sizes[0].total < sizes[1].total < sizes[2].total
    means = [size.total * size.expected_share for size in sizes]
    assert means[1] < means[2] < means[0] * 1.0
    assert means[1] / means[0] == pytest.approx(0.657, abs=0.002)


@pytest.mark.shows("H7", env="laptop")
def test_the_always_valid_inflation_gives_its_power() -> None:
    factor, share = inflation("always_valid", power=0.8, looks=20)
    drift = np.sqrt(factor) * 2.80159
    rng = np.random.default_rng(9)
    times = np.arange(1, 21) / 20
    z = np.cumsum(rng.normal(drift / 20, np.sqrt(1 / 20), (20_000, 20)), axis=1) / np.sqrt(times)
    radius = np.array([mixture_radius(float(t), 0.05, mixture_scale(1.0, 0.05)) for t in times])
    won = z > radius
    assert float(won.any(axis=1).mean()) == pytest.approx(0.8, abs=0.012)
    stopped = np.where(won.any(axis=1), times[won.argmax(axis=1)], 1.0)
    assert float(stopped.mean()) == pytest.approx(share, abs=0.01)


@pytest.mark.shows("H7", env="laptop")
@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"effect": 0.0, "sd": 1.0}, "effect"),
        ({"effect": 1.0, "sd": 0.0}, "sd"),
        ({"effect": 1.0, "sd": 1.0, "challenger_share": 1.0}, "challenger_share"),
        ({"effect": 1.0, "sd": 1.0, "power": 0.01}, "power"),
        ({"effect": 1.0, "sd": 1.0, "alpha": 0.0}, "alpha"),
        ({"effect": 1.0, "sd": 1.0, "variance_saved": 1.0}, "variance_saved"),
        ({"effect": 1.0, "sd": 1.0, "mode": "bayes"}, "fixed, planned, always_valid"),
        ({"effect": 1.0, "sd": 1.0, "mode": "always_valid", "looks": 0}, "looks"),
    ],
)
def test_errors_name_the_argument(arguments: dict[str, float], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        for_means(**arguments)  # type: ignore[arg-type]


def test_equal_or_impossible_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="challenger"):
        for_proportions(0.1, 0.1)
    with pytest.raises(ValueError, match="champion"):
        for_proportions(0.0, 0.1)
