"""How many units an experiment needs: proportions and means, two arms of any allocation, three ways of looking.

Sources: Fleiss, Levin and Paik, "Statistical Methods for Rates and Proportions" (2003), chapter 4, without continuity
correction; the inflation of the sequential modes is computed by numerical integration, not taken from a table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy import optimize, stats

from maestro.decisions import group_sequential
from maestro.decisions.brownian import crossing
from maestro.decisions.means import mixture_radius, mixture_scale

Mode = Literal["fixed", "planned", "always_valid"]


@dataclass(frozen=True, slots=True)
class SampleSize:
    """Units of each arm at most, with the factor over the fixed-horizon test and the mean share that is used.

    `expected_share` is the mean sample when the named effect is true, over `champion + challenger`.
    """

    champion: int
    challenger: int
    inflation: float
    expected_share: float

    @property
    def total(self) -> int:
        """Units of both arms."""
        return self.champion + self.challenger


def for_means(
    effect: float,
    sd: float,
    *,
    sd_challenger: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    challenger_share: float = 0.5,
    mode: Mode = "fixed",
    looks: int = 20,
    variance_saved: float = 0.0,
) -> SampleSize:
    """Units to detect a difference of means.

    Args:
        effect: the difference to be detected, in the unit of `sd`; its sign does not matter.
        sd: standard deviation in the champion's arm (and the challenger's unless given).
        sd_challenger: standard deviation in the challenger's arm.
        alpha: two-sided error.
        power: probability of detecting it.
        challenger_share: share of all units in the challenger's arm, inside (0, 1).
        mode: `fixed` looks once, `planned` spends alpha over `looks`, `always_valid` may stop at any of `looks`.
        looks: how many evenly spaced looks the sequential modes have.
        variance_saved: share of the variance that regression on a covariate removes.

    Raises:
        ValueError: an argument is out of range; the message names it.

    >>> for_means(0.5, 1.0).champion
    63
    >>> for_means(0.5, 1.0, challenger_share=0.2).total
    197
    """
    if not (math.isfinite(effect) and effect != 0.0):
        raise ValueError("effect must be a finite number other than 0")
    other = sd if sd_challenger is None else sd_challenger
    if not (sd >= 0.0 and other >= 0.0 and sd + other > 0.0 and math.isfinite(sd + other)):
        raise ValueError("sd must be positive")
    if not 0.0 <= variance_saved < 1.0:
        raise ValueError("variance_saved must lie in [0, 1)")
    _check(alpha, power, challenger_share)
    drift = group_sequential.fixed_drift(alpha, power)
    unit = sd * sd / (1.0 - challenger_share) + other * other / challenger_share
    total = unit * (drift / effect) ** 2 * (1.0 - variance_saved)
    return _allocate(total, alpha, power, challenger_share, mode, looks)


def for_proportions(
    champion: float,
    challenger: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    challenger_share: float = 0.5,
    mode: Mode = "fixed",
    looks: int = 20,
) -> SampleSize:
    """Units to detect a difference of two proportions (pooled variance under no difference).

    Args: as `for_means`; `champion` and `challenger` are the two rates, inside (0, 1).

    Raises:
        ValueError: an argument is out of range; the message names it.

    >>> for_proportions(0.10, 0.12).champion
    3841
    """
    for name, rate in (("champion", champion), ("challenger", challenger)):
        if not 0.0 < rate < 1.0:
            raise ValueError(f"{name} must be a rate inside (0, 1)")
    if champion == challenger:
        raise ValueError("challenger must differ from champion: there is no effect to detect")
    _check(alpha, power, challenger_share)
    r = challenger_share
    pooled = (1.0 - r) * champion + r * challenger
    under_null = math.sqrt(pooled * (1.0 - pooled) / (r * (1.0 - r)))
    under_effect = math.sqrt(champion * (1.0 - champion) / (1.0 - r) + challenger * (1.0 - challenger) / r)
    z_alpha, z_power = stats.norm.isf(alpha / 2.0), stats.norm.ppf(power)
    total = ((z_alpha * under_null + z_power * under_effect) / (challenger - champion)) ** 2
    return _allocate(float(total), alpha, power, challenger_share, mode, looks)


def inflation(mode: Mode, *, alpha: float = 0.05, power: float = 0.8, looks: int = 20) -> tuple[float, float]:
    """The factor on the fixed-horizon sample that keeps the power, and the mean share of it that is used.

    >>> [round(inflation(mode, power=0.9)[0], 2) for mode in ("fixed", "planned", "always_valid")]
    [1.0, 1.09, 1.64]
    """
    if mode == "fixed":
        return 1.0, 1.0
    if looks < 1:
        raise ValueError("looks must be at least 1")
    if mode == "planned":
        design = group_sequential.plan(alpha=alpha, power=power, looks=looks, maximum="inflated")
        return design.inflation, group_sequential.operating(design).expected_share
    if mode != "always_valid":
        raise ValueError(f"mode {mode!r} is unknown; known: fixed, planned, always_valid")
    times = [(k + 1) / looks for k in range(looks)]
    scale = mixture_scale(1.0, alpha)
    upper = [mixture_radius(t, alpha, scale) for t in times]
    lower = [-b for b in upper]
    base = group_sequential.fixed_drift(alpha, power)
    drift = float(
        optimize.brentq(lambda d: sum(crossing(times, upper, lower, d).above) - power, base, 4.0 * base, xtol=1e-7)
    )
    exits = crossing(times, upper, lower, drift)
    share = sum(t * (a + b) for t, a, b in zip(times, exits.above, exits.below, strict=True)) + exits.remaining
    return (drift / base) ** 2, share


def _allocate(total: float, alpha: float, power: float, share: float, mode: Mode, looks: int) -> SampleSize:
    factor, used = inflation(mode, alpha=alpha, power=power, looks=looks)
    return SampleSize(math.ceil(total * factor * (1.0 - share)), math.ceil(total * factor * share), factor, used)


def _check(alpha: float, power: float, share: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError("alpha must lie inside (0, 1)")
    if not alpha / 2.0 < power < 1.0:
        raise ValueError("power must lie between alpha/2 and 1")
    if not 0.0 < share < 1.0:
        raise ValueError("challenger_share must lie inside (0, 1)")
