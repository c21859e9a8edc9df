"""What objects name in each other: accounts and roles, secrets, ConfigMaps, claims, services and their pods."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from tests.manifests.objects import ROOT, Manifest, of_kind, pod_templates


@cache
def bound_accounts() -> frozenset[tuple[str, str]]:
    """ServiceAccounts (namespace, name) that a role is bound to."""
    found = set()
    for binding in of_kind("RoleBinding", "ClusterRoleBinding"):
        for subject in binding.body.get("subjects") or []:
            if subject["kind"] == "ServiceAccount":
                found.add((subject.get("namespace", binding.namespace), subject["name"]))
    return frozenset(found)


@cache
def promised_secrets() -> dict[tuple[str, str], frozenset[str]]:
    """(namespace, name) to the keys that `maestro platform secrets` makes."""
    listed = yaml.safe_load((ROOT / "infrastructure/secrets.yaml").read_text())["secrets"]
    return {(entry["namespace"], entry["name"]): frozenset(entry["keys"]) for entry in listed}


def configuration(manifest: Manifest) -> Iterator[tuple[str, str, str | None]]:
    """(kind, name, key) of every Secret, ConfigMap and claim that the pods of an object need; optional ones are left out."""
    for pod in pod_templates(manifest):
        for volume in pod.spec.get("volumes") or []:
            for source in [volume, *(volume.get("projected") or {}).get("sources", [])]:
                yield from _volume(source)
        for _, container in pod.containers():
            for variable in container.get("env") or []:
                source = variable.get("valueFrom") or {}
                for kind, name in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
                    if name in source and not source[name].get("optional"):
                        yield kind, source[name]["name"], source[name]["key"]
            for source in container.get("envFrom") or []:
                for kind, name in (("Secret", "secretRef"), ("ConfigMap", "configMapRef")):
                    if name in source and not source[name].get("optional"):
                        yield kind, source[name]["name"], None


def _volume(source: dict[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    for kind, name, field in (
        ("Secret", "secret", "secretName" if "secretName" in (source.get("secret") or {}) else "name"),
        ("ConfigMap", "configMap", "name"),
    ):
        given = source.get(name)
        if given and not given.get("optional"):
            keys = [item["key"] for item in given.get("items") or []] or [None]
            for key in keys:
                yield kind, given[field], key
    if "persistentVolumeClaim" in source:
        yield "PersistentVolumeClaim", source["persistentVolumeClaim"]["claimName"], None


@cache
def public_maps() -> frozenset[tuple[str, str]]:
    """(namespace, name) of the ConfigMaps that `maestro platform secrets` makes."""
    listed = yaml.safe_load((ROOT / "infrastructure/secrets.yaml").read_text())["public"]
    return frozenset((entry["namespace"], entry["name"]) for entry in listed)
