"""A bandit in a world whose truth is known: what it loses against always knowing the best arm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maestro.decisions.bandits._base import BanditPolicy, Floats
from maestro.decisions.bandits.decide import Decider


@dataclass(frozen=True)
class World:
    """Binary rewards: arm k pays with probability `base[k] + context · slopes[k]`, the context uniform on −1 … 1 in each number."""

    base: tuple[float, ...]
    slopes: tuple[tuple[float, ...], ...] | None = None

    def chances(self, context: Floats) -> Floats:
        """Units × arms."""
        chances = np.repeat(np.array([self.base]), len(context), axis=0)
        if self.slopes is not None:
            chances += context @ np.array(self.slopes).T
        return chances


def regret_of(
    policy: BanditPolicy, world: World, *, rounds: int, batch: int, seed: int, epsilon: float = 0.01
) -> Floats:
    """The expected reward lost up to each round against the best arm of each unit; rewards of a batch are learnt after it.

    A policy that draws arms at random loses the mean gap in every round.
    """
    rng = np.random.default_rng(seed)
    numbers = 0 if world.slopes is None else len(world.slopes[0])
    arms = [f"arm-{k}" for k in range(len(world.base))]
    snapshot = policy.start(f"simulated-{seed}", arms, epsilon=epsilon, ranges=[(-1.0, 1.0)] * numbers)
    lost = []
    for start in range(0, rounds, batch):
        size = min(batch, rounds - start)
        context = rng.uniform(-1.0, 1.0, (size, numbers))
        chances = world.chances(context)
        known = context if policy.contextual else None
        chosen = Decider(policy, snapshot).many([f"unit-{start + i}" for i in range(size)], known).arm
        mine = chances[np.arange(size), chosen]
        lost.append(chances.max(axis=1) - mine)
        snapshot = policy.learn(snapshot, chosen, (rng.random(size) < mine).astype(np.float64), known)
    return np.cumsum(np.concatenate(lost))
