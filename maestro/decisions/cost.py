"""What a run, a machine-hour and a million predictions cost, in whole micro-dollars that add up to the bill.

Bill = what was allocated × its rate × wall time; used = what was accounted; idle = bill − used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from maestro.core.errors import BadInput
from maestro.core.money import MICROS_PER_USD, MicroUsd, round_micros, split
from maestro.core.rates import RateCard

ASSUMED_CORES = 4
"""Cores of a run that does not say what it was allocated."""

TOLERANCE = Fraction(1, 100)
"""By how much accounted use may exceed the allocation before it is an error: clocks of accounting and wall differ."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """What was reserved, whether used or not, and for how long."""

    wall_s: float
    cores: float = ASSUMED_CORES
    gpus: float = 0.0
    memory_gib: float = 0.0
    spot: bool = False

    def __post_init__(self) -> None:
        for name in ("wall_s", "cores", "gpus", "memory_gib"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise BadInput(f"{name} is {value}", field=name, remedy="give a finite number, 0 or more")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one owner was accounted on the machine."""

    core_seconds: float = 0.0
    gpu_seconds: float = 0.0
    gib_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """The bill of one allocation: its parts add up to `total` exactly."""

    total: MicroUsd
    cpu: MicroUsd
    gpu: MicroUsd
    memory: MicroUsd


@dataclass(frozen=True, slots=True)
class Attribution:
    """One machine's bill by owner: the owners' parts and `idle` add up to `bill` exactly."""

    bill: MicroUsd
    parts: Mapping[str, MicroUsd]
    idle: MicroUsd

    @property
    def idle_share(self) -> float:
        """The share of the bill that nobody used; 0 for an empty bill."""
        return self.idle / self.bill if self.bill else 0.0


def bill(allocation: Allocation, rates: RateCard) -> Bill:
    """The bill of an allocation: (cores × CPU rate + GPUs × GPU rate + GiB × memory rate) × hours.

    One call for each attempt: retries are billed.

    >>> from maestro.core.rates import load_rates
    >>> bill(Allocation(wall_s=1800, cores=4, gpus=1), load_rates())
    Bill(total=225000, cpu=100000, gpu=125000, memory=0)
    """
    wall = Fraction(allocation.wall_s)
    exact = [
        rates.micros(core_seconds=_product(allocation.cores, wall), spot=allocation.spot),
        rates.micros(gpu_seconds=_product(allocation.gpus, wall), spot=allocation.spot),
        rates.micros(gib_seconds=_product(allocation.memory_gib, wall), spot=allocation.spot),
    ]
    total = round_micros(sum(exact, Fraction(0)))
    cpu, gpu, memory = split(total, exact) if any(exact) else (0, 0, 0)
    return Bill(total, cpu, gpu, memory)


def attribute(allocation: Allocation, usage: Mapping[str, Usage], rates: RateCard) -> Attribution:
    """Divide a machine's bill among those who used it, and the idle rest (largest remainder).

    Args:
        allocation: the machine and the time, usually one hour.
        usage: owner → what it was accounted on it.
        rates: the rate card.

    Raises:
        BadInput: a use is negative, or all uses together exceed an allocated resource by more than a hundredth.

    >>> from maestro.core.rates import load_rates
    >>> hour = Allocation(wall_s=3600, cores=2)
    >>> shares = attribute(hour, {"serving": Usage(core_seconds=1000), "training": Usage(core_seconds=3000)}, load_rates())
    >>> shares.bill, dict(shares.parts), shares.idle
    (100000, {'serving': 13889, 'training': 41667}, 44444)
    """
    whole = bill(allocation, rates).total
    wall = Fraction(allocation.wall_s)
    scale = {}
    for resource, size in (
        ("core_seconds", allocation.cores),
        ("gpu_seconds", allocation.gpus),
        ("gib_seconds", allocation.memory_gib),
    ):
        amounts = [getattr(use, resource) for use in usage.values()]
        if any(not math.isfinite(amount) or amount < 0 for amount in amounts):
            raise BadInput(
                f"{resource} of an owner is negative or not finite", field=resource, remedy="correct the accounting"
            )
        used, allowed = sum((Fraction(amount) for amount in amounts), Fraction(0)), _product(size, wall)
        if used > allowed * (1 + TOLERANCE):
            raise BadInput(
                f"{resource}: {float(used):g} were accounted on an allocation of {float(allowed):g}",
                field=resource,
                remedy="bill the allocation that was really made, or correct the accounting",
            )
        # Accounting that overshoots within the tolerance is scaled back: nobody pays for more than was allocated.
        scale[resource] = min(Fraction(1), allowed / used) if used else Fraction(1)
    exact = [
        rates.micros(
            core_seconds=_product(use.core_seconds, scale["core_seconds"]),
            gpu_seconds=_product(use.gpu_seconds, scale["gpu_seconds"]),
            gib_seconds=_product(use.gib_seconds, scale["gib_seconds"]),
            spot=allocation.spot,
        )
        for use in usage.values()
    ]
    allocated = rates.micros(
        core_seconds=_product(allocation.cores, wall),
        gpu_seconds=_product(allocation.gpus, wall),
        gib_seconds=_product(allocation.memory_gib, wall),
        spot=allocation.spot,
    )
    if whole == 0:
        return Attribution(0, dict.fromkeys(usage, 0), 0)
    *parts, idle = split(whole, [*exact, max(allocated - sum(exact, Fraction(0)), Fraction(0))])
    return Attribution(whole, dict(zip(usage, parts, strict=True)), idle)


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """One point of the cost curve. `per_million` includes the idle share; it is never quoted without its load."""

    load_per_s: float
    replicas: int
    per_million: MicroUsd
    idle_share: float


def cost_per_million(
    loads_per_s: Sequence[float],
    *,
    capacity_per_s: float,
    replica: Allocation,
    rates: RateCard,
    target_utilisation: float = 0.7,
    min_replicas: int = 1,
    max_replicas: int | None = None,
) -> tuple[LoadPoint, ...]:
    """The cost of a million predictions as a curve over load.

    Args:
        loads_per_s: predictions per second, each above 0.
        capacity_per_s: what one replica was measured to serve.
        replica: what one replica is allocated; its wall time is not used.
        rates: the rate card.
        target_utilisation: share of the capacity at which the autoscaler adds a replica.
        min_replicas: replicas that always run.
        max_replicas: replicas at most; loads beyond their capacity are refused.

    Raises:
        BadInput: a number is out of range, or a load exceeds what `max_replicas` can serve.

    >>> from maestro.core.rates import load_rates
    >>> curve = cost_per_million([1, 700], capacity_per_s=500, replica=Allocation(0, cores=1), rates=load_rates())
    >>> [(point.replicas, point.per_million, round(point.idle_share, 3)) for point in curve]
    [(1, 13888889, 0.998), (2, 39683, 0.3)]
    """
    for field, value, inside in (
        ("capacity_per_s", capacity_per_s, capacity_per_s > 0.0),
        ("target_utilisation", target_utilisation, 0.0 < target_utilisation <= 1.0),
        ("min_replicas", min_replicas, min_replicas >= 1),
        ("loads_per_s", loads_per_s, all(math.isfinite(load) and load > 0.0 for load in loads_per_s)),
    ):
        if not inside:
            raise BadInput(
                f"{field} is {value}", field=field, remedy="give a number in range (loads and capacity above 0)"
            )
    second = rates.micros(
        core_seconds=replica.cores, gpu_seconds=replica.gpus, gib_seconds=replica.memory_gib, spot=replica.spot
    )
    points = []
    for load in loads_per_s:
        wanted = max(math.ceil(load / (capacity_per_s * target_utilisation)), min_replicas)
        replicas = wanted if max_replicas is None else min(wanted, max_replicas)
        if load > replicas * capacity_per_s:
            raise BadInput(
                f"a load of {load:g} a second exceeds {replicas} replicas of {capacity_per_s:g}",
                field="loads_per_s",
                remedy="raise max_replicas or ask for smaller loads",
            )
        per_million = round_micros(second * replicas * MICROS_PER_USD / Fraction(load))
        points.append(LoadPoint(load, replicas, per_million, 1.0 - load / (replicas * capacity_per_s)))
    return tuple(points)


def cost_aware_score(score: float, seconds: float, *, cost_weight: float, reference_seconds: float) -> float:
    """What a cost-aware search maximises: score − weight × seconds / reference seconds.

    Raises:
        BadInput: a weight or a time is out of range.

    >>> round(cost_aware_score(0.90, 30.0, cost_weight=0.3, reference_seconds=300.0), 4)
    0.87
    """
    if not (math.isfinite(cost_weight) and cost_weight >= 0.0):
        raise BadInput(f"cost_weight is {cost_weight}", field="cost_weight", remedy="give 0 or more")
    if not (reference_seconds > 0.0 and seconds >= 0.0):
        raise BadInput(
            "seconds must be 0 or more and reference_seconds above 0",
            field="reference_seconds",
            remedy="give the seconds of a usual trial",
        )
    return score - cost_weight * seconds / reference_seconds


def _product(amount: float, factor: Fraction) -> Fraction:
    return Fraction(amount) * factor
