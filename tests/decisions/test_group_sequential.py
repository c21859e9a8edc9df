"""Group-sequential tests: published bounds, seeded simulation, and what each spending function costs."""

from __future__ import annotations

import numpy as np
import pytest

from maestro.decisions.brownian import crossing
from maestro.decisions.group_sequential import (
    Plan,
    Spending,
    assess,
    efficacy_bounds,
    fixed_drift,
    futility_bounds,
    operating,
    plan,
)

OBF = Spending("obrien_fleming")
POCOCK = Spending("pocock")
FIFTHS = [0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.mark.parametrize(
    ("looks", "error"),
    [(1, 0.05), (2, 0.083), (3, 0.107), (4, 0.126), (5, 0.142), (10, 0.193), (20, 0.248), (50, 0.320)],
)
def test_repeated_looks_at_1_96_have_the_published_error(looks: int, error: float) -> None:
    """Armitage, McPherson and Rowe 1969, table 2."""
    exits = crossing(range(1, looks + 1), [1.959964] * looks, [-1.959964] * looks, 0.0)
    assert 1.0 - exits.remaining == pytest.approx(error, abs=0.0006)


def test_classical_constants_have_level_five_percent() -> None:
    """Pocock 2.413 and O'Brien–Fleming 2.040 for five looks (Jennison and Turnbull 2000, tables 2.1 and 2.3)."""
    for upper in ([2.413] * 5, [2.040 * (5 / k) ** 0.5 for k in range(1, 6)]):
        exits = crossing(FIFTHS, upper, [-b for b in upper], 0.0)
        assert 1.0 - exits.remaining == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize(
    ("spending", "published"),
    [(OBF, [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]), (POCOCK, [2.4380, 2.4268, 2.4101, 2.3966, 2.3859])],
)
def test_bounds_are_the_published_ones(spending: Spending, published: list[float]) -> None:
    """Reboussin, DeMets, Kim and Lan 2000 (program ld98), five looks, two-sided 0.05."""
    assert efficacy_bounds(FIFTHS, 0.05, spending) == pytest.approx(published, abs=2e-4)


def test_power_family_with_rho_one_matches_two_looks_by_hand() -> None:
    first, _ = efficacy_bounds([0.5, 1.0], 0.05, Spending("power", 1.0))
    assert first == pytest.approx(2.241403, abs=1e-5)  # the 1 − 0.025/2 quantile of the normal


@pytest.mark.shows("H8", env="laptop")
@pytest.mark.parametrize(
    ("spending", "power_kept", "users"),
    [(OBF, 0.985, 0.687), (Spending("power", 3.0), 0.983, 0.663), (Spending("power", 2.0), 0.971, 0.630)],
)
def test_power_and_users_of_the_090_design(spending: Spending, power_kept: float, users: float) -> None:
    figures = operating(plan(power=0.9, looks=20, spending=spending))
    assert figures.winner / 0.9 == pytest.approx(power_kept, abs=0.0015)
    assert figures.expected_of_fixed == pytest.approx(users, abs=0.001)


@pytest.mark.shows("H8", env="laptop")
def test_the_default_plan_keeps_097_of_the_power_at_064_of_the_users() -> None:
    design = plan(power=0.9, looks=20)
    true, null = operating(design), operating(design, 0.0)
    assert true.winner >= 0.97 * 0.9
    assert true.expected_of_fixed <= 0.64
    assert null.winner + null.harm == pytest.approx(0.05, abs=1e-9)
    assert null.expected_of_fixed == pytest.approx(0.985, abs=0.001)
    smaller = operating(plan(power=0.8, looks=20))
    assert (smaller.winner / 0.8, smaller.expected_of_fixed) == pytest.approx((0.955, 0.711), abs=0.001)


@pytest.mark.shows("H8", env="laptop")
@pytest.mark.parametrize("effect", [0.0, 1.0, -0.5])
def test_simulated_rollouts_do_what_the_integration_says(effect: float) -> None:
    design = plan(looks=20, futility=Spending())
    rng = np.random.default_rng(20260101)
    n = 20_000
    steps = rng.normal(design.drift * effect / 20, np.sqrt(1 / 20), size=(n, 20))
    z = np.cumsum(steps, axis=1) / np.sqrt(np.array(design.times))
    upper = np.array(design.efficacy)
    futile = np.array(design.futile_below)
    for follow in (False, True):
        win, harm = z >= upper, z <= -upper
        stop = win | harm | (z <= futile if follow else np.zeros_like(win))
        at = np.where(stop.any(axis=1), stop.argmax(axis=1), 19)
        rows = np.arange(n)
        seen = (win[rows, at].mean(), harm[rows, at].mean(), (at + 1).mean() / 20)
        said = operating(design, effect, follow_futility=follow)
        for got, expected in zip(seen, (said.winner, said.harm, said.expected_share), strict=True):
            assert got == pytest.approx(expected, abs=4.0 * max((expected * (1 - expected) / n) ** 0.5, 1e-4))


@pytest.mark.shows("H8", env="laptop")
def test_futility_is_non_binding_and_its_cost_is_reported() -> None:
    plain, with_futility = plan(looks=20), plan(looks=20, futility=Spending())
    assert with_futility.efficacy == plain.efficacy
    ignored = operating(with_futility, 0.0, follow_futility=False)
    assert ignored.winner + ignored.harm == pytest.approx(0.05, abs=1e-9)
    lost = operating(plain).winner - operating(with_futility).winner
    saved = operating(plain, 0.0).expected_share - operating(with_futility, 0.0).expected_share
    assert 0.0 < lost < 0.035
    assert saved > 0.5


def test_an_inflated_maximum_keeps_the_power() -> None:
    for futility in (None, Spending(), OBF):
        design = plan(looks=10, futility=futility, maximum="inflated")
        assert operating(design).winner == pytest.approx(0.9, abs=1e-5)
        assert 1.0 < design.inflation < 1.3


def test_futility_meets_efficacy_at_the_end_and_spends_its_beta() -> None:
    design = plan(looks=8, futility=Spending(), maximum="inflated")
    assert design.futility is not None
    assert design.futile_below is not None
    assert design.futile_below[-1] == design.efficacy[-1]
    assert design.futile_below == futility_bounds(design.times, design.efficacy, design.futility)
    assert operating(design).futile + operating(design).harm == pytest.approx(0.1, abs=1e-5)


@pytest.mark.shows("H8", env="laptop")
def test_unplanned_look_times_keep_the_level() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        times = [*np.sort(rng.uniform(0.02, 0.98, rng.integers(1, 15))).tolist(), 1.0]
        bounds = efficacy_bounds(times, 0.05, Spending())
        exits = crossing(times, bounds, [-b for b in bounds], 0.0)
        assert 1.0 - exits.remaining == pytest.approx(0.05, abs=1e-8)


@pytest.mark.shows("H8", env="laptop")
@pytest.mark.parametrize(
    ("times", "z", "verdict"),
    [
        ([0.5], 3.5, "winner"),
        ([0.5], -3.5, "harm"),
        ([0.25, 0.5], 1.5, "keep_going"),
        ([0.25, 0.5], -1.0, "futile"),
        ([0.5, 1.0], 1.0, "futile"),
        ([0.5, 1.2], 2.4, "winner"),
    ],
)
def test_verdicts(times: list[float], z: float, verdict: str) -> None:
    assert assess(plan(looks=4, futility=Spending()), times, z).verdict == verdict


def test_assess_agrees_with_the_plan_at_planned_looks() -> None:
    design: Plan = plan(looks=5, futility=Spending())
    assert design.futile_below is not None
    for k in range(5):
        look = assess(design, design.times[: k + 1], 0.0)
        assert look.efficacy == pytest.approx(design.efficacy[k], abs=1e-9)
        assert look.futile_below == pytest.approx(design.futile_below[k], abs=1e-9)


def test_one_look_is_the_fixed_horizon_test() -> None:
    assert operating(plan(looks=1)).winner == pytest.approx(0.9, abs=1e-6)
    assert fixed_drift(0.05, 0.8) == pytest.approx(2.8016, abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plan(looks=[0.5, 0.4, 1.0]), "times"),
        (lambda: plan(looks=[0.5, 0.9]), "last"),
        (lambda: plan(looks=0), "look"),
        (lambda: plan(power=1.5), "power"),
        (lambda: Spending("power", -1.0), "rho"),
        (lambda: Spending("haybittle"), "known: obrien_fleming, pocock, power"),  # type: ignore[arg-type]
        (lambda: assess(plan(looks=2), [], 0.0), "times"),
    ],
)
def test_wrong_designs_are_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()
