"""What every bandit policy owes its callers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from maestro.decisions.bandits.snapshot import PolicyName, Snapshot

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Scorer(Protocol):
    """One snapshot made ready for use.

    Obligations: the probabilities of a unit add up to 1, every one at least the snapshot's epsilon; a unit's row does not depend on the other rows of
    the call; equal inputs give equal bits.
    """

    def score(self, units: int, context: Floats | None) -> tuple[Floats, Floats]:
        """The exact probability of each arm, and the mean reward expected of it; both units × arms.

        Args:
            context: units × numbers, for policies that use one.
        """
        ...


class BanditPolicy(Protocol):
    """Chooses among arms and learns from rewards.

    Obligations: no state of its own, no randomness, no I/O: everything it knows is in the snapshot, which it never changes; a snapshot that learnt from
    no reward gives every arm a chance; `learn` from the same rewards in the same order gives the same snapshot bit for bit, and learning in parts
    gives the same knowledge as learning at once (up to the snapshot's number and rounding).
    """

    name: ClassVar[PolicyName]
    contextual: ClassVar[bool]

    def start(
        self,
        experiment: str,
        arms: Sequence[str],
        *,
        epsilon: float = 0.01,
        ranges: Sequence[tuple[float, float]] = (),
    ) -> Snapshot:
        """The first snapshot.

        Args:
            ranges: the lowest and highest value of each number of the context; for contextual policies.

        Raises:
            BadInput: arms, epsilon or ranges do not fit the policy; names the field.
        """
        ...

    def learn(self, snapshot: Snapshot, arm: Integers, reward: Floats, context: Floats | None = None) -> Snapshot:
        """The snapshot that follows.

        Args:
            arm: position of the arm in the snapshot, one a reward.
            reward: 0 to 1.
            context: rewards × numbers, NaN where a number is missing; for contextual policies.

        Raises:
            BadInput: a reward is outside 0 to 1, or the context has another width.
        """
        ...

    def scorer(self, snapshot: Snapshot) -> Scorer:
        """The snapshot made ready for use."""
        ...
