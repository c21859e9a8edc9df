"""Weights and mirrors of a Gateway API HTTPRoute."""

from __future__ import annotations

from typing import Any

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.cluster import ClusterServing
from maestro.core.errors import BadInput
from maestro.core.graph import FULL_WEIGHT
from maestro.serving.targets._route import GRAPH_DIGEST, Carried, scaled, slot_of

API_VERSION = "gateway.networking.k8s.io/v1"


class HttpRoute:
    """The rules of one HTTPRoute that lead to our slots; other rules, matches and filters stay as they are."""

    def __init__(self, cluster: Cluster, options: ClusterServing) -> None:
        self._cluster = cluster
        self._options = options
        self._ref = Ref(API_VERSION, "HTTPRoute", options.route, options.namespace)

    def check(self, weight: int, mirror: float | None) -> None:
        """Any weight, any mirror."""

    def read(self) -> Carried:
        """What the first of our rules says."""
        found = self._cluster.get(self._ref)
        rule = self._rules(found)[0]
        weights = {
            slot: int(backend.get("weight", 1))
            for backend in rule.get("backendRefs", [])
            if (slot := slot_of(backend, self._options)) is not None
        }
        mirror = next((_fraction(item) for item in rule.get("filters", []) if self._is_ours(item)), None)
        return Carried(
            weight=scaled(weights), mirror=mirror, graph=(found["metadata"].get("annotations") or {}).get(GRAPH_DIGEST)
        )

    def write(self, carried: Carried) -> None:
        """Weights, mirror and digest in one replacement, on the version that was read."""
        found = self._cluster.get(self._ref)
        for rule in self._rules(found):
            champion, challenger = self._backends(rule)
            kept = [backend for backend in rule.get("backendRefs", []) if slot_of(backend, self._options) is None]
            rule["backendRefs"] = [
                champion | {"weight": FULL_WEIGHT - carried.weight},
                challenger | {"weight": carried.weight},
                *kept,
            ]
            filters = [item for item in rule.get("filters", []) if not self._is_ours(item)]
            if carried.mirror is not None:
                reference = {key: value for key, value in challenger.items() if key in {"name", "port", "namespace"}}
                copied: dict[str, Any] = {"backendRef": reference}
                if carried.mirror < 1:
                    copied["fraction"] = {"numerator": round(carried.mirror * FULL_WEIGHT), "denominator": FULL_WEIGHT}
                filters.append({"type": "RequestMirror", "requestMirror": copied})
            rule["filters"] = filters
            if not filters:
                rule.pop("filters")
        found["metadata"].setdefault("annotations", {})[GRAPH_DIGEST] = carried.graph or ""
        self._cluster.replace(found)

    def _rules(self, route: dict[str, Any]) -> list[dict[str, Any]]:
        ours = [
            rule
            for rule in route["spec"].get("rules", [])
            if any(slot_of(backend, self._options) for backend in rule.get("backendRefs", []))
        ]
        if not ours:
            raise BadInput(
                f"no rule of {self._ref} leads to Service {self._options.champion} or {self._options.challenger}",
                field="spec.rules", remedy="name them as backendRefs, as ab-testing/ab-test-deployment.yaml does",
            )  # fmt: skip
        return ours

    def _backends(self, rule: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The references to our slots; the one that is missing is like the other."""
        found = {slot: backend for backend in rule["backendRefs"] if (slot := slot_of(backend, self._options))}
        like = next(iter(found.values()))
        return (
            found.get("champion", like | {"name": self._options.champion}),
            found.get("challenger", like | {"name": self._options.challenger}),
        )

    def _is_ours(self, item: dict[str, Any]) -> bool:
        mirror = item.get("requestMirror") or {}
        return (
            item.get("type") == "RequestMirror" and slot_of(mirror.get("backendRef") or {}, self._options) is not None
        )


def _fraction(item: dict[str, Any]) -> float:
    mirror = item["requestMirror"]
    if "percent" in mirror:
        return float(mirror["percent"]) / 100
    share = mirror.get("fraction")
    return 1.0 if share is None else float(share["numerator"]) / float(share.get("denominator", 100))
