"""Traffic that is hard to judge: a trend in every base rate while weights change, a busy host, arms that stall."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from maestro.core.policy import RolloutPolicy
from maestro.decisions.sequential.hypotheses import Floats

TICKS = 10
"""Parts of a second in which all of an arm's requests are slow together, or none is."""


def policy(
    *, tolerate: float | None = None, bake: str = "3s", factors: tuple[float, float] = (10, 3), **budget: object
) -> RolloutPolicy:
    """The long ladder over three metrics, margins 0.02, 0.1 and 0.06; `tolerate` as a share of each margin."""
    margins = {"errors": 0.02, "slow": 0.1, "quality": 0.06}
    events = {"errors": "error", "slow": "latency > 0.1s", "quality": "wrong"}
    metrics = [
        {"name": name, "bad": events[name], "margin": margin}
        | ({} if tolerate is None else {"tolerate": tolerate * margin})
        for name, margin in margins.items()
    ]
    rungs = [{"weight": 1, "margin_factor": factors[0]}, {"weight": 10, "margin_factor": factors[1]}, {"weight": 50}]
    return RolloutPolicy.model_validate(
        {
            "apiVersion": "maestro/v1",
            "kind": "RolloutPolicy",
            "metadata": {"name": "three"},
            "alpha": 0.05,
            "rungs": [*rungs, {"weight": 100, "bake": bake}],
            "metrics": metrics,
            "budget": {"requests": 10**9, "duration": "100h"} | budget,
        }
    )


class HardTraffic:
    """Base rates rise from look to look; latency has a slow state of the host, shared, and fast states of each arm.

    Args:
        rollouts: how many are simulated.
        differences: by metric, challenger's rate - champion's in every look; 0 where not named.
        looks: looks over which base rates rise by a factor of about five.
        requests: requests of a look, of one second.
    """

    def __init__(self, rollouts: int, differences: Mapping[str, float], looks: int, requests: int = 200) -> None:
        self._differences = dict.fromkeys(("errors", "slow", "quality"), 0.0) | dict(differences)
        self._looks = looks
        self._requests = requests
        self._host = np.zeros(rollouts)
        self._arms = np.zeros((rollouts, 2))

    def draw(
        self, look: int, share: Floats, rung_look: NDArray[np.intp], which: NDArray[np.intp], rng: np.random.Generator
    ) -> dict[str, Floats]:
        """See `maestro.decisions.rollout.simulation.Traffic`."""
        trend = min(1.0, look / self._looks)
        sizes = rng.binomial(self._requests, share)
        n = np.stack([self._requests - sizes, sizes], -1)
        drawn = {"slow": self._blocks(share, which, rng)[:, None, :]}
        for name, low, high in (("errors", 0.003, 0.015), ("quality", 0.1, 0.5)):
            base = low + (high - low) * trend
            bad = rng.binomial(n, [base, base + self._differences[name]])
            drawn[name] = np.stack([bad[:, 0], n[:, 0], bad[:, 1], n[:, 1]], -1).astype(np.float64)
        return drawn

    def _blocks(self, share: Floats, which: NDArray[np.intp], rng: np.random.Generator) -> Floats:
        host = 0.95 * self._host[which] + np.sqrt(1 - 0.95**2) * rng.standard_normal(which.size)
        self._host[which] = host
        base = 0.02 + 0.4 * norm.cdf(host)[:, None] + np.array([0.0, self._differences["slow"]])
        state = self._arms[which]
        parts = np.stack([1 - share, share], -1) * self._requests / TICKS
        slow, total = np.zeros((which.size, 2)), np.zeros((which.size, 2))
        for _ in range(TICKS):
            state = 0.5 * state + np.sqrt(0.75) * rng.standard_normal(state.shape)
            arrived = rng.poisson(parts)
            slow += arrived * (norm.cdf(state) < base)
            total += arrived
        self._arms[which] = state
        return np.stack([slow[:, 0], total[:, 0], slow[:, 1], total[:, 1]], -1)
