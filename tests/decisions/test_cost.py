"""Costs that add up: runs, machine-hours, and the curve of a million predictions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.core.errors import BadInput
from maestro.core.rates import RateCard, load_rates
from maestro.decisions.cost import Allocation, Usage, attribute, bill, cost_aware_score, cost_per_million

RATES = load_rates()
ODD = RateCard(version="2026-02", cpu_core_hour=0.0333, gpu_hour=1.2345, memory_gib_hour=0.0041, spot_factor=0.37)


@pytest.mark.shows("L4", "L5", env="laptop")
def test_the_documented_formula() -> None:
    """(cores × CPU rate + GPUs × GPU rate) × hours, four cores when nothing is said."""
    assert bill(Allocation(wall_s=3600), RATES).total == 200_000
    assert bill(Allocation(wall_s=7200, cores=2, gpus=1), RATES).total == 700_000
    assert bill(Allocation(wall_s=3600, cores=2, spot=True), ODD).total == round(66_600 * 0.37)


@pytest.mark.shows("L5", env="laptop")
@given(
    st.floats(0, 1e6),
    st.floats(0, 64),
    st.integers(0, 8),
    st.floats(0, 512),
    st.lists(st.tuples(*[st.floats(0, 1)] * 3), max_size=6),
    st.booleans(),
)
def test_parts_and_idle_add_up_to_the_bill_exactly(
    wall: float, cores: float, gpus: int, memory: float, shares: list[tuple[float, float, float]], spot: bool
) -> None:
    machine = Allocation(wall_s=wall, cores=cores, gpus=gpus, memory_gib=memory, spot=spot)
    n = max(len(shares), 1)
    usage = {
        str(i): Usage(a * cores * wall / n, b * gpus * wall / n, c * memory * wall / n)
        for i, (a, b, c) in enumerate(shares)
    }
    found = attribute(machine, usage, ODD)
    whole = bill(machine, ODD)
    assert found.bill == whole.total == whole.cpu + whole.gpu + whole.memory
    assert sum(found.parts.values()) + found.idle == found.bill
    assert min([found.idle, *found.parts.values()]) >= 0
    assert 0.0 <= found.idle_share <= 1.0


@pytest.mark.shows("L5", env="laptop")
def test_each_owner_pays_its_share_and_idle_is_what_is_left() -> None:
    hour = Allocation(wall_s=3600, cores=4, gpus=1)
    found = attribute(hour, {"a": Usage(core_seconds=7200), "b": Usage(gpu_seconds=1800)}, RATES)
    assert found.bill == 450_000
    assert found.parts == {"a": 100_000, "b": 125_000}
    assert found.idle == 225_000
    assert attribute(hour, {}, RATES).idle == found.bill


def test_accounting_that_overshoots_a_little_is_scaled_and_a_lot_is_refused() -> None:
    hour = Allocation(wall_s=3600, cores=1)
    found = attribute(hour, {"a": Usage(core_seconds=3620)}, RATES)
    assert (found.parts["a"], found.idle) == (50_000, 0)
    with pytest.raises(BadInput, match="core_seconds"):
        attribute(hour, {"a": Usage(core_seconds=4000)}, RATES)
    with pytest.raises(BadInput, match="gpu_seconds"):
        attribute(hour, {"a": Usage(gpu_seconds=1.0)}, RATES)
    with pytest.raises(BadInput, match="negative"):
        attribute(hour, {"a": Usage(core_seconds=-1.0)}, RATES)


@pytest.mark.shows("L5", env="laptop")
def test_a_million_predictions_cost_less_under_load_and_the_idle_share_is_shown() -> None:
    curve = cost_per_million([1, 10, 100, 350], capacity_per_s=500, replica=Allocation(0, cores=1), rates=RATES)
    costs = [point.per_million for point in curve]
    assert costs == sorted(costs, reverse=True)
    assert [point.replicas for point in curve] == [1, 1, 1, 1]
    assert curve[-1].idle_share == pytest.approx(0.3)
    # One replica-hour is 50,000 micro-dollars, whatever the load: cost × load is constant while it holds.
    for point in curve:
        assert point.per_million * point.load_per_s * 3600 / 1e6 == pytest.approx(50_000, rel=1e-4)


def test_a_load_beyond_the_replicas_is_refused() -> None:
    one = Allocation(0, cores=1)
    with pytest.raises(BadInput, match="exceeds"):
        cost_per_million([5000], capacity_per_s=500, replica=one, rates=RATES, max_replicas=3)
    full = cost_per_million([1500], capacity_per_s=500, replica=one, rates=RATES, max_replicas=3)
    assert (full[0].replicas, full[0].idle_share) == (3, 0.0)
    for wrong in ({"capacity_per_s": 0.0}, {"target_utilisation": 0.0}, {"min_replicas": 0}):
        with pytest.raises(BadInput) as caught:
            cost_per_million([1.0], **({"capacity_per_s": 1.0, "replica": one, "rates": RATES} | wrong))  # type: ignore[arg-type]
        assert caught.value.field in wrong


@pytest.mark.shows("C5", env="laptop")
def test_the_cost_aware_score_prefers_cheap_among_equals() -> None:
    score = {s: cost_aware_score(0.9, s, cost_weight=0.3, reference_seconds=100.0) for s in (0.0, 50.0, 200.0)}
    assert score[0.0] == 0.9
    assert score[0.0] > score[50.0] > score[200.0]
    assert cost_aware_score(0.9, 1e9, cost_weight=0.0, reference_seconds=1.0) == 0.9
    for options in ({"cost_weight": -1.0, "reference_seconds": 1.0}, {"cost_weight": 1.0, "reference_seconds": 0.0}):
        with pytest.raises(BadInput):
            cost_aware_score(0.9, 1.0, **options)


def test_an_allocation_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        Allocation(wall_s=1.0, cores=float("nan"))
    assert caught.value.field == "cores"
