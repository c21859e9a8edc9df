"""Epsilon-greedy (Sutton and Barto, "Reinforcement Learning", 2nd edition, chapter 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from maestro.decisions.bandits._base import Floats, Integers
from maestro.decisions.bandits.floor import begin, best, check_rewards, floored, tallied
from maestro.decisions.bandits.snapshot import ArmState, Snapshot


class EpsilonGreedyPolicy:
    """The arm of the highest mean reward, every other with probability `epsilon`. An arm without a reward yet has mean 1, so that each is tried.

    >>> policy = EpsilonGreedyPolicy()
    >>> snapshot = policy.learn(policy.start("e", ["a", "b"], epsilon=0.1), np.array([0, 1]), np.array([0.2, 0.7]))
    >>> policy.scorer(snapshot).score(1, None)[0].tolist()
    [[0.1, 0.9]]
    """

    name: ClassVar[str] = "epsilon_greedy"
    contextual: ClassVar[bool] = False

    def start(
        self,
        experiment: str,
        arms: Sequence[str],
        *,
        epsilon: float = 0.01,
        ranges: Sequence[tuple[float, float]] = (),
    ) -> Snapshot:
        """The first snapshot: every arm equally likely."""
        return begin("epsilon_greedy", experiment, [ArmState(arm=arm) for arm in arms], epsilon)

    def learn(self, snapshot: Snapshot, arm: Integers, reward: Floats, context: Floats | None = None) -> Snapshot:
        """Sum the rewards."""
        check_rewards(snapshot, arm, reward)
        return snapshot.model_copy(update={"number": snapshot.number + 1, "arms": tallied(snapshot, arm, reward)})

    def scorer(self, snapshot: Snapshot) -> EpsilonGreedyScorer:
        """Ready for use."""
        return EpsilonGreedyScorer(snapshot)


class EpsilonGreedyScorer:
    """The means of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._means = np.array([[state.reward / state.count if state.count else 1.0 for state in snapshot.arms]])
        self._propensity = floored(best(self._means), snapshot.epsilon)

    def score(self, units: int, context: Floats | None) -> tuple[Floats, Floats]:
        """The same for every unit; the values are mean rewards."""
        return np.repeat(self._propensity, units, axis=0), np.repeat(self._means, units, axis=0)
