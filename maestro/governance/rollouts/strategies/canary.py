"""Canary: the ladder of the policy, each rung earned by evidence (design §3b)."""

from __future__ import annotations

from maestro.core.graph import InferenceGraph
from maestro.core.policy import RolloutPolicy
from maestro.governance.rollouts.graphs import Arms, split_graph


class Canary:
    """Climbs the policy's rungs; the last is a bake with the champion kept warm."""

    name = "canary"
    needs_champion = True
    judged = True

    def weights(self, policy: RolloutPolicy) -> tuple[float, ...]:
        """The policy's."""
        return tuple(float(rung.weight) for rung in policy.rungs)

    def graph(self, arms: Arms, policy: RolloutPolicy, rung: int, revision: int) -> InferenceGraph:
        """A split at the rung's weight."""
        return split_graph(arms, self.weights(policy)[rung], revision)
