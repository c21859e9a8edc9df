"""NetworkPolicies evaluated over every pair of pods of the repository: what may reach what, on which port.

Source: Kubernetes API reference, NetworkPolicy v1: policies add up; a pod that none selects for a direction is open in it; a connection needs
the egress of one side and the ingress of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.manifests.constitution import selects
from tests.manifests.objects import Manifest, all_pods, of_kind

OUTSIDE = "outside"
"""Everything that is no pod of the repository: the API server, other namespaces, the internet."""


@dataclass(frozen=True)
class Workload:
    """Pods that policies cannot tell apart."""

    namespace: str
    name: str
    labels: tuple[tuple[str, str], ...]
    ports: frozenset[int]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, order=True)
class Flow:
    """A connection that is let through."""

    source: str
    target: str
    port: int

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}:{self.port}"


@cache
def workloads() -> tuple[Workload, ...]:
    """Every kind of pod, with the ports that its containers name; training jobs are one kind a namespace."""
    found: dict[tuple[str, str], Workload] = {}
    for pod in all_pods():
        name = pod.labels["app.kubernetes.io/name"]
        if pod.labels["app.kubernetes.io/component"] == "training-job":
            name = "training-job"
        elif name == "airflow":
            name = pod.labels["app.kubernetes.io/component"]
        ports = frozenset(int(port["containerPort"]) for _, one in pod.containers() for port in one.get("ports") or [])
        before = found.get((pod.owner.namespace, name))
        labels = tuple(sorted(pod.labels.items()))
        found[pod.owner.namespace, name] = Workload(
            pod.owner.namespace, name, labels, ports | (before.ports if before else frozenset())
        )
    return tuple(found.values())


def _allows(policies: list[Manifest], direction: str, own: Workload, other: Workload | None, port: int) -> bool:
    """Whether one direction of one side lets a connection through."""
    key = "Egress" if direction == "to" else "Ingress"
    mine = [
        one.body["spec"]
        for one in policies
        if one.namespace == own.namespace
        and selects(one.body["spec"].get("podSelector") or {}, dict(own.labels))
        and key in one.body["spec"].get("policyTypes", ["Ingress"])
    ]
    if not mine:
        return True
    return any(
        _ports(rule, own if direction == "from" else other, port) and _peers(rule.get(direction), own, other)
        for spec in mine
        for rule in spec.get(key.lower()) or []
    )


def _ports(rule: dict[str, Any], target: Workload | None, port: int) -> bool:
    if not rule.get("ports"):
        return True
    return any(
        int(entry["port"]) <= port <= int(entry.get("endPort", entry["port"]))
        for entry in rule["ports"]
        if entry.get("protocol", "TCP") == "TCP" and not isinstance(entry.get("port"), str)
    )


def _peers(peers: list[dict[str, Any]] | None, own: Workload, other: Workload | None) -> bool:
    if not peers:
        return True
    for peer in peers:
        if "ipBlock" in peer:
            if other is None:
                return True
            continue
        if other is None:
            continue
        spaces = peer.get("namespaceSelector")
        there = {"kubernetes.io/metadata.name": other.namespace}
        in_space = other.namespace == own.namespace if spaces is None else selects(spaces, there)
        if in_space and selects(peer.get("podSelector") or {}, dict(other.labels)):
            return True
    return False


def _policies() -> list[Manifest]:
    """Those of the platform; what stands in for a database or store of your own opens a way to it."""
    return [one for one in of_kind("NetworkPolicy") if "components/external-" not in one.path.as_posix()]


def flows() -> Iterator[Flow]:
    """Every pair of workloads and port that is let through; outside is a source and a target too."""
    policies = _policies()
    for target in workloads():
        for port in sorted(target.ports):
            for source in workloads():
                if _allows(policies, "to", source, target, port) and _allows(policies, "from", target, source, port):
                    yield Flow(str(source), str(target), port)
            if _allows(policies, "from", target, None, port):
                yield Flow(OUTSIDE, str(target), port)


def ways_out() -> Iterator[Flow]:
    """What may leave for somewhere outside, and on which of the usual ports."""
    policies = _policies()
    for source in workloads():
        for port in (22, 80, 443, 5432, 6443, 8080):
            if _allows(policies, "to", source, None, port):
                yield Flow(str(source), OUTSIDE, port)
