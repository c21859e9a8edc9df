"""Looking things up where their kind may not be known yet: what is not served is not there."""

from __future__ import annotations

from typing import Any

from maestro.clients.kubernetes import Cluster, Ref
from maestro.core.errors import NotFound

FIELD_MANAGER = "maestro-platform"
"""Whose fields the platform's own are, in the API server's books; the controllers that move traffic write under another name."""


def find(cluster: Cluster, api_version: str, kind: str, name: str, namespace: str = "") -> dict[str, Any] | None:
    """An object; None when it, or its kind, is not there."""
    try:
        return cluster.find(Ref(api_version, kind, name, namespace))
    except NotFound:
        return None


def listed(
    cluster: Cluster, api_version: str, kind: str, namespace: str = "", labels: str | None = None
) -> list[dict[str, Any]]:
    """The objects of a kind; none when the kind is not known."""
    try:
        return cluster.list(api_version, kind, namespace, labels=labels)
    except NotFound:
        return []


def serves(cluster: Cluster, api_version: str, kind: str) -> bool:
    """Whether the cluster knows a kind."""
    return kind in cluster.kinds(api_version)
