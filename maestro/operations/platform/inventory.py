"""What the platform owns in a cluster: one ConfigMap that lists the keys of all objects that were applied, so that nothing else is ever deleted."""

from __future__ import annotations

from collections.abc import Iterable

from maestro.clients.kubernetes import Cluster
from maestro.operations.platform.objects import Body
from maestro.operations.platform.reading import FIELD_MANAGER, find
from maestro.operations.platform.rendering import OWNER, OWNER_LABEL

NAMESPACE, NAME = "ml-platform", "maestro-platform-inventory"


def read_inventory(cluster: Cluster) -> set[str]:
    """The keys of what is ours; none before the first apply."""
    found = find(cluster, "v1", "ConfigMap", NAME, NAMESPACE)
    return set((found or {}).get("data", {}).get("objects", "").split("\n")) - {""}


def write_inventory(cluster: Cluster, keys: Iterable[str]) -> None:
    """Replace the list. It is written before the objects are, so that a killed apply still knows what is its own."""
    body: Body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {OWNER_LABEL: OWNER}},
        "data": {"objects": "\n".join(sorted(keys))},
    }
    cluster.apply(body, manager=FIELD_MANAGER, force=True)
