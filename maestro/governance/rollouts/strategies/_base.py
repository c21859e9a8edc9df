"""How traffic moves from champion to challenger."""

from __future__ import annotations

from typing import Protocol

from maestro.core.graph import InferenceGraph
from maestro.core.policy import RolloutPolicy
from maestro.governance.rollouts.graphs import Arms


class Strategy(Protocol):
    """A plan of moves, without any I/O.

    Obligations: pure; the same arguments give the same graph; every graph but the last keeps the champion warm where there is one, so
    that going back is one write.
    """

    name: str
    needs_champion: bool
    judged: bool
    """Whether moves are earned by evidence on live traffic; otherwise by readiness alone."""

    def weights(self, policy: RolloutPolicy) -> tuple[float, ...]:
        """The challenger's share in percent on each rung, as a rollout shows it."""
        ...

    def graph(self, arms: Arms, policy: RolloutPolicy, rung: int, revision: int) -> InferenceGraph:
        """The graph of a rung."""
        ...
