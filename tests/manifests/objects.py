"""The Kubernetes objects of this repository, found by discovery: every YAML document with apiVersion and kind in the manifest folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "infrastructure",
    "training",
    "serving",
    "governance",
    "ab-testing",
    "monitoring",
    "observability",
    "security",
    "operations",
)
Body = dict[str, Any]

_OTHER_APIS = ("kustomize.config.k8s.io/", "openslo", "argocd", "maestro")
"""Documents of these APIs are read by programs, not by a Kubernetes API server."""

CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrainingRuntime",
    "ClusterQueue",
    "CustomResourceDefinition",
    "APIService",
    "GatewayClass",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "Namespace",
    "PersistentVolume",
    "PriorityClass",
    "ResourceFlavor",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
}


@dataclass(frozen=True)
class Manifest:
    """One object: the file it stands in, relative to the root, and its body."""

    path: Path
    body: Body

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.body["kind"])

    @property
    def namespace(self) -> str:
        """Its namespace; empty for what has none."""
        return str(self.body["metadata"].get("namespace", ""))

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.body["metadata"].get("name") or self.body["metadata"].get("generateName", "?"))

    @property
    def key(self) -> str:
        """`Kind/namespace/name`, as the list of exceptions names it."""
        return f"{self.kind}/{self.namespace or '-'}/{self.name}"

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.body["metadata"].get("labels") or {}

    def __str__(self) -> str:
        return f"{self.path}: {self.key}"


@dataclass(frozen=True)
class PodTemplate:
    """A pod that an object makes: the object, where in it, the pod's metadata and spec."""

    owner: Manifest
    where: str
    metadata: Body
    spec: Body

    @property
    def labels(self) -> dict[str, str]:
        """The pod's labels."""
        return self.metadata.get("labels") or {}

    def containers(self) -> Iterator[tuple[str, Body]]:
        """Every container, init containers included, with its place."""
        for kind in ("initContainers", "containers"):
            for container in self.spec.get(kind) or []:
                yield f"{kind}.{container.get('name', '?')}", container

    def __str__(self) -> str:
        return f"{self.owner} {self.where}".rstrip()


def read(path: Path) -> list[Body]:
    """The documents of one file that have apiVersion and kind."""
    documents = yaml.load_all((ROOT / path).read_text(), Loader=yaml.CSafeLoader)
    return [body for body in documents if isinstance(body, dict) and body.get("apiVersion") and body.get("kind")]


@cache
def yaml_files() -> tuple[Path, ...]:
    """Every YAML file of the manifest folders."""
    found = (path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.y*ml")))
    return tuple(path for path in found if "templates" not in path.parts or path.parts[0] == "training")


@cache
def kustomizations() -> tuple[Path, ...]:
    """Every kustomization file."""
    return tuple(path for path in yaml_files() if path.name == "kustomization.yaml")


@cache
def partial_files() -> frozenset[Path]:
    """Files that hold patches, named under `patches` of a kustomization: parts of objects."""
    found = set()
    for path in kustomizations():
        (body,) = yaml.load_all((ROOT / path).read_text(), Loader=yaml.CSafeLoader)
        for patch in body.get("patches") or []:
            if "path" in patch:
                found.add(path.parent / patch["path"])
    return frozenset(found)


@cache
def manifests() -> tuple[Manifest, ...]:
    """Every object of the repository as its own file states it; patches and kustomizations are left out."""
    return tuple(
        Manifest(path, body)
        for path in yaml_files()
        if path not in partial_files()
        for body in flatten(read(path))
        if not str(body["apiVersion"]).startswith(_OTHER_APIS)
    )


def flatten(bodies: list[Body]) -> Iterator[Body]:
    """Lists of kind List taken apart."""
    for body in bodies:
        if body["kind"] == "List":
            yield from flatten(body["items"])
        else:
            yield body


def of_kind(*kinds: str) -> list[Manifest]:
    """The objects of these kinds."""
    return [manifest for manifest in manifests() if manifest.kind in kinds]


def pod_templates(manifest: Manifest) -> Iterator[PodTemplate]:
    """Every pod that an object makes, found by shape, so that a kind nobody thought of is seen too."""
    if manifest.kind == "Pod":
        yield PodTemplate(manifest, "", manifest.body["metadata"], manifest.body["spec"])
    elif manifest.kind != "CustomResourceDefinition":
        yield from _templates(manifest, manifest.body.get("spec"), "spec")


def _templates(manifest: Manifest, node: Any, where: str) -> Iterator[PodTemplate]:
    if isinstance(node, dict):
        template = node.get("template")
        if isinstance(template, dict) and isinstance(template.get("spec"), dict) and "containers" in template["spec"]:
            yield PodTemplate(manifest, where, template.get("metadata") or {}, template["spec"])
        for key, value in node.items():
            yield from _templates(manifest, value, f"{where}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _templates(manifest, value, f"{where}[{number}]")


@cache
def all_pods() -> tuple[PodTemplate, ...]:
    """Every pod of the repository."""
    return tuple(pod for manifest in manifests() for pod in pod_templates(manifest))
