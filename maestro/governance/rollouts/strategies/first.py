"""First: a model without champion. Its first version needs approval and statement like any other, and has nothing to be compared with."""

from __future__ import annotations

from maestro.core.graph import InferenceGraph
from maestro.core.policy import RolloutPolicy
from maestro.governance.rollouts.graphs import Arms, single_graph


class First:
    """All traffic at once, since there was none before."""

    name = "first"
    needs_champion = False
    judged = False

    def weights(self, policy: RolloutPolicy) -> tuple[float, ...]:
        """No rung: the final graph is the only one."""
        return ()

    def graph(self, arms: Arms, policy: RolloutPolicy, rung: int, revision: int) -> InferenceGraph:
        """The final graph."""
        return single_graph(arms.challenger_model(), revision)
