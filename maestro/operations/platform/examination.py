"""`maestro platform doctor`: what is missing or does not fit, before anything is applied, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

from maestro.clients.kubernetes import Cluster
from maestro.core.errors import MaestroError
from maestro.operations.platform.layout import Layout
from maestro.operations.platform.objects import Body, pod_specs
from maestro.operations.platform.quantities import quantity
from maestro.operations.platform.reading import FIELD_MANAGER, find, listed, serves
from maestro.operations.platform.rendering import pin
from maestro.operations.platform.secrets import missing_secrets

Verdict = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""


Check = Callable[[Cluster, Layout, Sequence[Body]], Iterator[Finding]]


def examine(cluster: Cluster, layout: Layout, bodies: Sequence[Body]) -> list[Finding]:
    """Every check, on what a profile would apply; nothing is changed. A check that the cluster refuses is a finding too."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += check(cluster, layout, bodies)
        except MaestroError as error:
            findings.append(Finding(check.__name__.strip("_").replace("_", " "), "warning", error.detail, error.remedy))
    return findings


def _kubernetes_version(cluster: Cluster, layout: Layout, _: Sequence[Body]) -> Iterator[Finding]:
    told = cluster.connection.request("GET", "/version", what="read the version of the cluster")
    found = (int(told["major"]), int(re.sub(r"\D", "", told["minor"])))
    wanted = str(layout.versions()["kubernetes"]["minimum"])
    fits = found >= tuple(int(part) for part in wanted.split("."))
    yield Finding(
        "Kubernetes version", "ok" if fits else "missing", f"{told['gitVersion']}, at least {wanted}",
        "" if fits else f"upgrade the cluster to {wanted} or newer",
    )  # fmt: skip


def _definitions(cluster: Cluster, layout: Layout, bodies: Sequence[Body]) -> Iterator[Finding]:
    own = {body["spec"]["group"] for body in bodies if body["kind"] == "CustomResourceDefinition"}
    listed = {(entry["group"], str(entry["version"])): entry for entry in layout.versions().get("apis", [])}
    for api_version, kind in sorted({(str(body["apiVersion"]), str(body["kind"])) for body in bodies}):
        group, _, version = api_version.rpartition("/")
        if not group or group in own or serves(cluster, api_version, kind):
            continue
        entry = listed.get((group, version), {})
        yield Finding(
            f"kind {kind}", "missing", f"the cluster does not serve {api_version}",
            f"install {entry.get('crds', 'its CRDs')}, or leave {entry.get('optional', 'the component')} out",
        )  # fmt: skip
    yield Finding("definitions", "ok", f"{len(own)} groups of our own, the others looked up")


def _storage(cluster: Cluster, _: Layout, bodies: Sequence[Body]) -> Iterator[Finding]:
    classes = listed(cluster, "storage.k8s.io/v1", "StorageClass")
    default = [
        one["metadata"]["name"]
        for one in classes
        if (one["metadata"].get("annotations") or {}).get("storageclass.kubernetes.io/is-default-class") == "true"
    ]
    if default:
        yield Finding("storage class", "ok", f"default: {default[0]}")
    else:
        yield Finding(
            "storage class", "missing", f"no default StorageClass ({len(classes)} in all): claims stay pending",
            "mark one: kubectl annotate storageclass NAME storageclass.kubernetes.io/is-default-class=true",
        )  # fmt: skip
    shared = [
        body["metadata"]["name"]
        for body in bodies
        if body["kind"] == "PersistentVolumeClaim" and "ReadWriteMany" in body["spec"]["accessModes"]
    ]
    if shared:
        yield Finding(
            "shared volume", "warning", f"{', '.join(shared)} asks for ReadWriteMany, which not every class gives",
            "name a class that does (NFS, CephFS, EFS, Filestore), or keep API and worker on one node with ReadWriteOnce",
        )  # fmt: skip


def _gateway(cluster: Cluster, _: Layout, bodies: Sequence[Body]) -> Iterator[Finding]:
    if not any(body["kind"] == "Gateway" for body in bodies):
        return
    accepted = [
        one["metadata"]["name"]
        for one in listed(cluster, "gateway.networking.k8s.io/v1", "GatewayClass")
        if any(
            entry["type"] == "Accepted" and entry["status"] == "True"
            for entry in (one.get("status") or {}).get("conditions", [])
        )
    ]
    yield Finding(
        "Gateway controller", "ok" if accepted else "missing", ", ".join(accepted) or "no GatewayClass is accepted by a controller",
        "" if accepted else "install a controller (Envoy Gateway, Istio, Cilium, …) or leave components/gateway out",
    )  # fmt: skip


def _operator_pair(cluster: Cluster, _: Layout, bodies: Sequence[Body]) -> Iterator[Finding]:
    """Two training operators would both act on every job."""
    if not any(body["kind"] == "Deployment" and body["metadata"]["name"] == "training-operator" for body in bodies):
        return
    others = [
        f"{one['metadata']['namespace']}/{one['metadata']['name']}"
        for one in listed(cluster, "apps/v1", "Deployment")
        if one["metadata"]["namespace"] != "kubeflow-training"
        and any("training-operator" in str(box.get("image")) for spec in pod_specs(one) for box in spec["containers"])
    ]
    foreign = sorted(
        {
            str(field.get("manager"))
            for one in listed(cluster, "apiextensions.k8s.io/v1", "CustomResourceDefinition")
            if one["spec"]["group"] == "kubeflow.org"
            for field in one["metadata"].get("managedFields") or []
            if field.get("subresource") is None and field.get("manager") not in {FIELD_MANAGER, "kubectl"}
            and not str(field.get("manager")).startswith(("kubectl", "kube-"))
        }
    )  # fmt: skip
    if others:
        yield Finding("training operator", "missing", f"another one runs: {', '.join(others)}", "remove one of the two")
    elif foreign:
        yield Finding(
            "training operator",
            "warning",
            f"its CRDs belong to {', '.join(foreign)}",
            "apply with --take-over, or keep that installation",
        )
    else:
        yield Finding("training operator", "ok", "no other one runs")


def _metrics(cluster: Cluster, _: Layout, bodies: Sequence[Body]) -> Iterator[Finding]:
    scalers = [body for body in bodies if body["kind"] == "HorizontalPodAutoscaler"]
    kinds = {metric["type"] for body in scalers for metric in body["spec"].get("metrics", [])}
    brought = {body["metadata"]["name"] for body in bodies if body["kind"] == "APIService"}
    for kind, name, program in (
        ("Resource", "v1beta1.metrics.k8s.io", "metrics-server"),
        ("Pods", "v1beta1.custom.metrics.k8s.io", "prometheus-adapter"),
    ):
        if kind in kinds:
            there = name in brought or find(cluster, "apiregistration.k8s.io/v1", "APIService", name) is not None
            yield Finding(
                f"metrics for autoscaling ({kind})", "ok" if there else "warning", f"{name} is {'there' if there else 'not there'}",
                "" if there else f"install {program}; without it replicas stay at their minimum",
            )  # fmt: skip


def _room(cluster: Cluster, _: Layout, bodies: Sequence[Body]) -> Iterator[Finding]:
    nodes = listed(cluster, "v1", "Node")
    for resource in ("cpu", "memory"):
        there = sum(quantity(str((one.get("status") or {}).get("allocatable", {}).get(resource, "0"))) for one in nodes)
        wanted = sum(requested(body, resource) for body in bodies)
        unit, scale = ("cores", 1.0) if resource == "cpu" else ("GiB", 2.0**30)
        fits = there >= wanted
        yield Finding(
            f"room ({resource})", "ok" if fits else "missing",
            f"{wanted / scale:.2f} {unit} requested, {there / scale:.2f} on {len(nodes)} nodes",
            "" if fits else "add a node, or apply infrastructure/minikube",
        )  # fmt: skip


def requested(body: Body, resource: str) -> float:
    """What the pods of a long-running object request in all, in cores or bytes."""
    if body["kind"] not in {"Deployment", "StatefulSet", "DaemonSet"}:
        return 0.0
    spec = body["spec"]["template"]["spec"]

    def of(containers: Sequence[Any]) -> list[float]:
        return [quantity(str(one.get("resources", {}).get("requests", {}).get(resource, "0"))) for one in containers]

    return float(body["spec"].get("replicas", 1)) * max(
        [sum(of(spec["containers"])), *of(spec.get("initContainers") or [])]
    )


def _secrets(cluster: Cluster, layout: Layout, _: Sequence[Body]) -> Iterator[Finding]:
    missing = missing_secrets(cluster, layout)
    yield Finding(
        "secrets", "missing" if missing else "ok", ", ".join(missing) or "all there",
        "run `maestro platform secrets` after the namespaces" if missing else "",
    )  # fmt: skip


def _digests(_: Cluster, layout: Layout, bodies: Sequence[Body]) -> Iterator[Finding]:
    missing = pin(deepcopy(list(bodies)), layout.images())
    yield Finding(
        "image digests", "warning" if missing else "ok", f"unresolved: {', '.join(missing)}" if missing else "all pinned",
        "run `maestro platform pin`; a production apply refuses these" if missing else "",
    )  # fmt: skip


CHECKS: tuple[Check, ...] = (
    _kubernetes_version, _definitions, _storage, _gateway, _operator_pair, _metrics, _room, _secrets, _digests
)  # fmt: skip
