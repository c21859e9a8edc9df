"""Blue-green: the challenger is loaded and warmed beside the champion, then one write moves all traffic."""

from __future__ import annotations

from maestro.core.graph import InferenceGraph
from maestro.core.policy import RolloutPolicy
from maestro.governance.rollouts.graphs import Arms, split_graph


class BlueGreen:
    """Ready at weight 0, then everything at once."""

    name = "blue_green"
    needs_champion = True
    judged = False

    def weights(self, policy: RolloutPolicy) -> tuple[float, ...]:
        """Nothing, until the switch."""
        return (0.0,)

    def graph(self, arms: Arms, policy: RolloutPolicy, rung: int, revision: int) -> InferenceGraph:
        """The challenger warm, without traffic."""
        return split_graph(arms, 0.0, revision)
