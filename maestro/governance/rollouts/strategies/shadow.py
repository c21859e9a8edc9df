"""Shadow: on the first rung the challenger gets copies of requests and nobody its answers; then as a canary."""

from __future__ import annotations

from maestro.core.errors import BadInput
from maestro.core.graph import InferenceGraph
from maestro.core.policy import RolloutPolicy
from maestro.governance.rollouts.graphs import Arms, shadow_graph
from maestro.governance.rollouts.strategies.canary import Canary


class Shadow(Canary):
    """The first rung is judged by copies: errors and latency, since an answer that nobody got has no label."""

    name = "shadow"

    def weights(self, policy: RolloutPolicy) -> tuple[float, ...]:
        """The policy's, but nothing on the first rung.

        Raises:
            BadInput: the policy judges quality, which copies cannot show.
        """
        for index, metric in enumerate(policy.metrics):
            if metric.event == "wrong":
                raise BadInput(
                    f"metric {metric.name} of policy {policy.metadata.name} judges answers, and copies are answered to nobody",
                    field=f"metrics.{index}.bad",
                    remedy="use a policy of errors and latency for shadow, or choose canary",
                )
        return (0.0, *super().weights(policy)[1:])

    def graph(self, arms: Arms, policy: RolloutPolicy, rung: int, revision: int) -> InferenceGraph:
        """All requests are copied on the first rung."""
        return shadow_graph(arms, revision) if rung == 0 else super().graph(arms, policy, rung, revision)
