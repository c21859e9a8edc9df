"""What divides requests between the two slots of a cluster."""

from __future__ import annotations

from typing import Any, Protocol

from maestro.core.cluster import ClusterServing
from maestro.core.errors import BadInput
from maestro.core.graph import FULL_WEIGHT
from maestro.core.model import Model

GRAPH_DIGEST = "maestro.dev/graph"
"""Annotation of a route: the digest of the graph that its weights were written for."""


class Carried(Model):
    """What a route does: the challenger's weight in 1/10,000, its mirror, and the graph it was written for."""

    weight: int = 0
    mirror: float | None = None
    graph: str | None = None


class Route(Protocol):
    """One way of dividing requests.

    Obligations: `write` is one request to the API server, so that weights and the graph's digest change together; it is a compare-and-swap on what was read
    last, and repeating it changes nothing.
    """

    def check(self, weight: int, mirror: float | None) -> None:
        """Refuse what this route cannot carry.

        Raises:
            BadInput: it cannot; what can is named.
        """
        ...

    def read(self) -> Carried:
        """What it does now.

        Raises:
            NotFound: the object is not there.
        """
        ...

    def write(self, carried: Carried) -> None:
        """Do that from now on.

        Raises:
            Conflict: somebody wrote first.
        """
        ...


def refuse_mirror(mirror: float | None, how: str) -> None:
    """Refuse a mirror where there is none."""
    if mirror is not None:
        raise BadInput(
            f"{how} copies no requests", field="strategy",
            remedy="shadow needs MAESTRO_CLUSTER__SERVING__TRAFFIC=httproute or router",
        )  # fmt: skip


def slot_of(backend: dict[str, Any], options: ClusterServing) -> str | None:
    """Which slot a backend reference means."""
    return {options.champion: "champion", options.challenger: "challenger"}.get(str(backend.get("name", "")))


def scaled(weights: dict[str, int]) -> int:
    """The challenger's share in 1/10,000 of weights on any scale.

    >>> scaled({"champion": 90, "challenger": 10})
    1000
    """
    total = weights.get("champion", 0) + weights.get("challenger", 0)
    return round(weights.get("challenger", 0) * FULL_WEIGHT / total) if total else 0
