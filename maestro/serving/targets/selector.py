"""Blue and green: the selector of one Service names the slot that has all the traffic."""

from __future__ import annotations

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.cluster import ClusterServing
from maestro.core.errors import BadInput
from maestro.core.graph import FULL_WEIGHT
from maestro.serving.targets._route import GRAPH_DIGEST, Carried, refuse_mirror

SLOT = "maestro.dev/slot"
"""Label of the pods of a slot, and in the Service's selector."""


class ServiceSelector:
    """All of the traffic, or none of it."""

    def __init__(self, cluster: Cluster, options: ClusterServing) -> None:
        self._cluster = cluster
        self._options = options
        self._ref = Ref("v1", "Service", options.service, options.namespace)

    def check(self, weight: int, mirror: float | None) -> None:
        """Only 0 and 100 %."""
        refuse_mirror(mirror, "the selector of a Service")
        if weight not in {0, FULL_WEIGHT}:
            raise BadInput(
                f"the selector of a Service moves all traffic or none, not {weight / FULL_WEIGHT:.2%}", field="strategy",
                remedy="choose blue-green or rolling; canary needs MAESTRO_CLUSTER__SERVING__TRAFFIC=httproute or router",
            )  # fmt: skip

    def read(self) -> Carried:
        """Which slot the selector names."""
        found = self._cluster.get(self._ref)
        slot = (found["spec"].get("selector") or {}).get(SLOT)
        return Carried(
            weight=FULL_WEIGHT if slot == "challenger" else 0,
            graph=(found["metadata"].get("annotations") or {}).get(GRAPH_DIGEST),
        )

    def write(self, carried: Carried) -> None:
        """One patch, on the version that was read."""
        self.check(carried.weight, carried.mirror)
        found = self._cluster.get(self._ref)
        slot = "challenger" if carried.weight == FULL_WEIGHT else "champion"
        change = {
            "metadata": {
                "resourceVersion": found["metadata"]["resourceVersion"],
                "annotations": {GRAPH_DIGEST: carried.graph or ""},
            },
            # the slot and nothing else: labels by which the Service chose other pods before would leave it without any
            "spec": {"selector": dict.fromkeys(found["spec"].get("selector") or {}) | {SLOT: slot}},
        }
        self._cluster.patch(self._ref, change)
