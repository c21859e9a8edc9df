"""What moves traffic in a cluster: one way of carrying a graph out a file, behind `maestro.core.seams.TrafficTarget`."""

from __future__ import annotations

from pathlib import Path

from maestro.clients.home import Home
from maestro.clients.kubernetes.objects import Cluster
from maestro.core.cluster import ClusterServing
from maestro.core.errors import BadInput
from maestro.serving.targets.fleet import Fleet
from maestro.serving.targets.graph_map import graph_name
from maestro.serving.targets.httproute import HttpRoute
from maestro.serving.targets.kubernetes import Carrier, KubernetesTarget
from maestro.serving.targets.replicas import Addresses, endpoints
from maestro.serving.targets.rolling import RollingReplacement
from maestro.serving.targets.router import Router
from maestro.serving.targets.selector import ServiceSelector
from maestro.serving.targets.slots import Slots
from maestro.serving.targets.verifier_map import VerifierMap

__all__ = ["TRAFFIC", "KubernetesTarget", "VerifierMap", "kubernetes_target", "served_models"]

TRAFFIC = ("router", "httproute", "selector", "rolling")
"""The ways of carrying a graph out."""


def kubernetes_target(
    cluster: Cluster,
    options: ClusterServing,
    home: Home,
    model: str,
    token: str = "",
    *,
    addresses: Addresses | None = None,
    trust_path: Path | None = None,
    allow_unsigned: bool = False,
) -> KubernetesTarget:
    """The target of a model's traffic in a cluster, carried out as `options.traffic` says.

    Raises:
        BadInput: there is no such way; the known ones are listed.
    """
    fleet = Fleet(cluster, options, model)
    carrier: Carrier
    match options.traffic:
        case "router":
            carrier = Router(addresses or endpoints(cluster, options), model, token)
        case "httproute":
            carrier = Slots(fleet, HttpRoute(cluster, options))
        case "selector":
            carrier = Slots(fleet, ServiceSelector(cluster, options))
        case "rolling":
            carrier = RollingReplacement(cluster, options, fleet)
        case _:
            raise BadInput(
                f"there is no way {options.traffic!r}", field="traffic", remedy=f"choose one of {', '.join(TRAFFIC)}"
            )
    return KubernetesTarget(
        cluster, options, home, model, carrier, trust_path=trust_path, allow_unsigned=allow_unsigned
    )


def served_models(cluster: Cluster, options: ClusterServing) -> tuple[str, ...]:
    """The models whose graph is in the cluster; none when it cannot be read."""
    name = graph_name(cluster, options.namespace, options.graph)
    return () if name is None else (name,)
