"""Secrets of the platform: what infrastructure/secrets.yaml lists and the cluster lacks is made, at random, and never shown."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from maestro.clients.kubernetes import Cluster, Ref
from maestro.core.errors import NotFound
from maestro.operations.platform.layout import Layout
from maestro.operations.platform.public_halves import PublicHalves
from maestro.operations.platform.reading import FIELD_MANAGER, find
from maestro.operations.platform.rendering import OWNER, OWNER_LABEL
from maestro.operations.platform.values import make_values

LABELS = {
    OWNER_LABEL: OWNER,
    "app.kubernetes.io/part-of": "maestro-ml",
    "app.kubernetes.io/component": "secrets",
}


@dataclass(frozen=True)
class Made:
    """What was done about one secret or derived ConfigMap; never a value."""

    object: str
    action: Literal["created", "completed", "kept"]
    keys: tuple[str, ...]


def ensure_secrets(cluster: Cluster, layout: Layout, at: datetime) -> list[Made]:
    """Create what is missing. A value that exists is never changed; a key that a later version adds is added.

    Raises:
        NotFound: a namespace is missing.
        Malformed: secrets.yaml names no known way to make a key, or a value that is there is none.
        Conflict: the trust policy in the cluster trusts another key than the secret holds.
    """
    listed = layout.secrets()
    made, public = [], PublicHalves()
    for entry in listed.get("secrets", []):
        where = f"{entry['namespace']}/{entry['name']}"
        if find(cluster, "v1", "Namespace", entry["namespace"]) is None:
            raise NotFound(
                f"namespace {entry['namespace']} is not there",
                remedy="first: kubectl apply -f infrastructure/kubernetes/namespaces.yaml",
            )
        before = find(cluster, "v1", "Secret", entry["name"], entry["namespace"])
        there = {key: base64.b64decode(value).decode() for key, value in ((before or {}).get("data") or {}).items()}
        wanted = [key for key in entry["keys"] if key not in there]
        if wanted:
            values = make_values(entry["keys"], there, at, where)
            _write(cluster, entry, {key: values[key] for key in wanted}, before)
            there |= values
        made.append(
            Made(f"Secret {where}", "created" if before is None else "completed" if wanted else "kept", tuple(wanted))
        )
        for key, rule in entry["keys"].items():
            public.take(rule, there[key], at, where)
    return made + [_publish(cluster, entry, public) for entry in listed.get("public", [])]


def missing_secrets(cluster: Cluster, layout: Layout) -> list[str]:
    """The secrets that `ensure_secrets` would create or complete."""
    found = []
    for entry in layout.secrets().get("secrets", []):
        there = (find(cluster, "v1", "Secret", entry["name"], entry["namespace"]) or {}).get("data") or {}
        if set(entry["keys"]) - set(there):
            found.append(f"{entry['namespace']}/{entry['name']}")
    return found


def _write(cluster: Cluster, entry: Mapping[str, Any], values: Mapping[str, str], before: Any) -> None:
    labels = LABELS | {"app.kubernetes.io/name": entry["name"]}
    metadata = {"name": entry["name"], "namespace": entry["namespace"]}
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(values)}
    if before is None:
        body |= {"metadata": metadata | {"labels": labels}, "type": entry.get("type", "Opaque")}
        cluster.create(body)
    else:
        # only the missing keys are stated, so that nothing that is there changes its owner
        body["type"] = before.get("type", "Opaque")
        cluster.apply(body, manager=FIELD_MANAGER)


def _publish(cluster: Cluster, entry: Mapping[str, Any], public: PublicHalves) -> Made:
    where, name = f"{entry['namespace']}/{entry['name']}", f"ConfigMap {entry['namespace']}/{entry['name']}"
    before = find(cluster, "v1", "ConfigMap", entry["name"], entry["namespace"])
    text = public.document(
        entry["holds"], None if before is None else (before.get("data") or {}).get(entry["key"], ""), where
    )
    if text is None:
        return Made(name, "kept", ())
    metadata: dict[str, Any] = {"name": entry["name"], "namespace": entry["namespace"]}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {entry["key"]: text}}
    if before is None:
        metadata["labels"] = LABELS | {"app.kubernetes.io/name": entry["name"]}
        cluster.create(body)
        return Made(name, "created", (entry["key"],))
    # a compare-and-swap: two who complete it at once do not lose each other's key
    metadata["resourceVersion"] = before["metadata"]["resourceVersion"]
    cluster.patch(Ref("v1", "ConfigMap", entry["name"], entry["namespace"]), body)
    return Made(name, "completed", (entry["key"],))
