"""Kubernetes objects as documents: how they are named, what pods they make, in which order they are applied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Body = dict[str, Any]

ORDER: tuple[tuple[str, frozenset[str]], ...] = (
    ("namespaces", frozenset({"Namespace", "PriorityClass", "StorageClass"})),
    ("definitions", frozenset({"CustomResourceDefinition"})),
    (
        "rules",
        frozenset(
            {
                "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ResourceQuota", "LimitRange",
                "NetworkPolicy", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "PodDisruptionBudget",
                "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding",
                "PeerAuthentication", "AuthorizationPolicy",
            }
        ),
    ),
    ("configuration", frozenset({"ConfigMap", "Secret", "PersistentVolumeClaim", "Service", "ValidatingWebhookConfiguration"})),
    ("stores", frozenset({"StatefulSet"})),
    ("services", frozenset({"Deployment", "DaemonSet", "APIService"})),
)  # fmt: skip
"""The declared order; what no stage names comes last. A stage is applied when the one before is ready."""

LAST = "the rest"
STAGES = (*(name for name, _ in ORDER), LAST)
KEPT = frozenset({"PersistentVolumeClaim", "Namespace", "CustomResourceDefinition", "Secret"})
"""What holds data, or takes data with it: never pruned, and kept when the platform is removed, unless asked for."""


def stage(body: Body) -> str:
    """The stage at which an object is applied.

    >>> stage({"kind": "StatefulSet"}), stage({"kind": "CronJob"})
    ('stores', 'the rest')
    """
    return next((name for name, kinds in ORDER if body["kind"] in kinds), LAST)


def key(body: Body) -> str:
    """`apiVersion|Kind|namespace|name`: how the inventory names an object."""
    metadata = body["metadata"]
    return f"{body['apiVersion']}|{body['kind']}|{metadata.get('namespace', '')}|{metadata['name']}"


def shown(identity: str) -> str:
    """A key for people.

    >>> shown("apps/v1|Deployment|ml-platform|mlflow")
    'Deployment ml-platform/mlflow'
    """
    _, kind, namespace, name = identity.split("|")
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def pod_specs(node: Any) -> Iterator[Body]:
    """Every pod specification in a document, found by its shape.

    >>> [spec["containers"] for spec in pod_specs({"spec": {"template": {"spec": {"containers": []}}}})]
    [[]]
    """
    if isinstance(node, dict):
        if isinstance(node.get("containers"), list):
            yield node
        for value in node.values():
            yield from pod_specs(value)
    elif isinstance(node, list):
        for value in node:
            yield from pod_specs(value)


def containers(body: Body) -> Iterator[Body]:
    """Every container that an object makes; schemas make none."""
    if body["kind"] != "CustomResourceDefinition":
        for spec in pod_specs(body):
            yield from spec.get("initContainers") or []
            yield from spec["containers"]
