"""Epsilon-greedy (Sutton and Barto, "Reinforcement Learning", 2nd edition, chapter 2)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from maestro.decisions.bandits._base import Floats
from maestro.decisions.bandits.floor import best, floored
from maestro.decisions.bandits.snapshot import PolicyName, Snapshot
from maestro.decisions.bandits.tally import TallyPolicy


class EpsilonGreedyPolicy(TallyPolicy):
    """The arm of the highest mean reward, every other with probability `epsilon`. An arm without a reward yet has mean 1, so that each is tried.

    >>> policy = EpsilonGreedyPolicy()
    >>> snapshot = policy.learn(policy.start("e", ["a", "b"], epsilon=0.1), np.array([0, 1]), np.array([0.2, 0.7]))
    >>> policy.scorer(snapshot).score(1, None)[0].tolist()
    [[0.1, 0.9]]
    """

    name: ClassVar[PolicyName] = "epsilon_greedy"

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
