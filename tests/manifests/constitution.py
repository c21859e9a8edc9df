"""The manifest constitution: each rule takes an object and says what is wrong with it. Rules about pods see every pod by its shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

import yaml

from tests.manifests.objects import CLUSTER_SCOPED, ROOT, Manifest, PodTemplate, manifests, of_kind, pod_templates
from tests.manifests.references import bound_accounts
from tests.manifests.versions import image_problem, version_label

Rule = Callable[[Manifest], Iterator[str]]
RULES: dict[str, Rule] = {}

NAMESPACES = {"ml-platform", "kubeflow-training", "ml-serving", "ml-training", "observability", "vault"}
LABELS = tuple(f"app.kubernetes.io/{name}" for name in ("name", "component", "part-of", "version"))
LONG_RUNNING = {"Deployment", "StatefulSet", "DaemonSet"}
ONLY_IN_NAMESPACES = {"Namespace", "ResourceQuota"}
NAMESPACES_FILE = "infrastructure/kubernetes/namespaces.yaml"
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_SECRET_NAME = re.compile(r"(?i)(password|passwd|secret|token|api_?key|credential|private_?key)")
_SECRET_TEXT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bmk_[0-9a-f]{8,}_|\bhvs\.[A-Za-z0-9]{20,}|://[^\s:/$@]+:[^\s$@/{<]+@"
)


def rule(function: Rule) -> Rule:
    """Register a rule under its name."""
    RULES[function.__name__] = function
    return function


@rule
def namespace(manifest: Manifest) -> Iterator[str]:
    """It stands in one of the platform's namespaces, by name."""
    if manifest.kind in CLUSTER_SCOPED:
        if manifest.namespace:
            yield f"{manifest.kind} has no namespace, remove {manifest.namespace}"
    elif manifest.namespace not in NAMESPACES | (
        {"kube-system", "istio-system"} if manifest.kind == "RoleBinding" else set()
    ):
        yield f"namespace {manifest.namespace or 'missing'} is none of {sorted(NAMESPACES)}"


@rule
def labels(manifest: Manifest) -> Iterator[str]:
    """The four labels stand on the object and on its pods, and the version is the image's."""
    yield from (f"label {name} is missing" for name in LABELS if not manifest.labels.get(name))
    if manifest.labels.get("app.kubernetes.io/part-of", "maestro-ml") != "maestro-ml":
        yield "app.kubernetes.io/part-of has to be maestro-ml"
    for pod in pod_templates(manifest):
        yield from (f"{pod.where}: label {name} is missing" for name in LABELS if not pod.labels.get(name))
        wanted = version_label(pod.spec["containers"][0].get("image", ""))
        if wanted and pod.labels.get("app.kubernetes.io/version") not in {wanted, None}:
            yield f"{pod.where}: label app.kubernetes.io/version is not {wanted}, the tag of its first image"


@rule
def selectors(manifest: Manifest) -> Iterator[str]:
    """No selector names the version: an upgrade would have to replace the object."""
    text = yaml.safe_dump(_selectors(manifest.body.get("spec")))
    if "app.kubernetes.io/version" in text:
        yield "a selector names app.kubernetes.io/version"


def _selectors(node: object) -> list[object]:
    if isinstance(node, dict):
        own = [node[name] for name in ("selector", "matchLabels", "podSelector") if name in node]
        return own + [inner for value in node.values() for inner in _selectors(value)]
    if isinstance(node, list):
        return [inner for value in node for inner in _selectors(value)]
    return []


@rule
def resources(manifest: Manifest) -> Iterator[str]:
    """Every container states requests and limits of CPU and memory."""
    for pod in pod_templates(manifest):
        for where, container in pod.containers():
            given = container.get("resources") or {}
            for kind in ("requests", "limits"):
                missing = {"cpu", "memory"} - set(given.get(kind) or {})
                if missing:
                    yield f"{pod.where} {where}: {kind} of {', '.join(sorted(missing))} missing"


@rule
def probes(manifest: Manifest) -> Iterator[str]:
    """What runs on has a liveness and a readiness probe."""
    if manifest.kind in LONG_RUNNING:
        for pod in pod_templates(manifest):
            for container in pod.spec["containers"]:
                for name in ("livenessProbe", "readinessProbe"):
                    if name not in container:
                        yield f"containers.{container['name']}: no {name}"


@rule
def service_account(manifest: Manifest) -> Iterator[str]:
    """A ServiceAccount of its own, whose token is mounted only where a role is bound to it."""
    for pod in pod_templates(manifest):
        name = pod.spec.get("serviceAccountName")
        if name in {None, "default"}:
            yield f"{pod.where}: no serviceAccountName"
            continue
        calls = (manifest.namespace, name) in bound_accounts()
        mounted = pod.spec.get("automountServiceAccountToken", True)
        if mounted and not calls:
            yield f"{pod.where}: automountServiceAccountToken has to be false: no role is bound to {name}"
    if manifest.kind == "ServiceAccount" and manifest.body.get("automountServiceAccountToken", True):
        yield "automountServiceAccountToken has to be false on the ServiceAccount; the pod that calls the API says true"


@rule
def dedicated_account(manifest: Manifest) -> Iterator[str]:
    """No two long-running workloads share a ServiceAccount."""
    if manifest.kind in LONG_RUNNING:
        name = manifest.body["spec"]["template"]["spec"].get("serviceAccountName")
        for other in of_kind(*LONG_RUNNING):
            same = other.body["spec"]["template"]["spec"].get("serviceAccountName") == name
            if same and other is not manifest and other.namespace == manifest.namespace:
                yield f"shares ServiceAccount {name} with {other.key}"


@rule
def restricted(manifest: Manifest) -> Iterator[str]:
    """Pod Security `restricted`, and a read-only root."""
    for pod in pod_templates(manifest):
        yield from (f"{pod.where} {problem}" for problem in _restricted(pod))


def _restricted(pod: PodTemplate) -> Iterator[str]:
    context = pod.spec.get("securityContext") or {}
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(name):
            yield f"{name} is set"
    for volume in pod.spec.get("volumes") or []:
        kinds = set(volume) - {"name"}
        if kinds - VOLUMES:
            yield f"volume {volume['name']} is {', '.join(sorted(kinds - VOLUMES))}"
    for where, container in pod.containers():
        own = container.get("securityContext") or {}
        merged = context | own
        if merged.get("runAsNonRoot") is not True:
            yield f"{where}: runAsNonRoot is not true"
        if merged.get("runAsUser") == 0:
            yield f"{where}: runAsUser is 0"
        if (merged.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
            yield f"{where}: seccompProfile is not RuntimeDefault"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{where}: allowPrivilegeEscalation is not false"
        if (own.get("capabilities") or {}).get("drop") != ["ALL"] or (own.get("capabilities") or {}).get("add"):
            yield f"{where}: capabilities are not dropped"
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"{where}: readOnlyRootFilesystem is not true"
        if own.get("privileged"):
            yield f"{where}: privileged"
        if any(port.get("hostPort") for port in container.get("ports") or []):
            yield f"{where}: hostPort"


@rule
def network_policy(manifest: Manifest) -> Iterator[str]:
    """A policy that names its flows selects each pod; the default-deny of the namespace is not one."""
    for pod in pod_templates(manifest):
        policies = [
            policy
            for policy in of_kind("NetworkPolicy")
            if policy.namespace == manifest.namespace and policy.body["spec"].get("podSelector")
        ]
        if not any(selects(policy.body["spec"]["podSelector"], pod.labels) for policy in policies):
            yield f"{pod.where}: no NetworkPolicy names its flows"


def selects(selector: dict[str, object], labels: dict[str, str]) -> bool:
    """Whether a label selector matches."""
    wanted = selector.get("matchLabels") or {}
    if not isinstance(wanted, dict) or any(labels.get(key) != value for key, value in wanted.items()):
        return False
    expressions = selector.get("matchExpressions") or []
    assert isinstance(expressions, list)
    for expression in expressions:
        key, values = expression["key"], expression.get("values") or []
        holds = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[expression["operator"]]
        if not holds:
            return False
    return True


@rule
def only_in_namespaces_file(manifest: Manifest) -> Iterator[str]:
    """Namespaces, their quotas and the default-deny stand in one file; the training quota beside its operator."""
    at_home = manifest.path.as_posix() == NAMESPACES_FILE
    beside_operator = manifest.kind == "ResourceQuota" and manifest.path.name == "training-operator.yaml"
    if manifest.kind in ONLY_IN_NAMESPACES and not at_home and not beside_operator:
        yield f"{manifest.kind} belongs into {NAMESPACES_FILE}"
    if manifest.kind == "NetworkPolicy" and not manifest.body["spec"].get("podSelector") and not at_home:
        yield f"a policy for every pod of a namespace belongs into {NAMESPACES_FILE}"


@rule
def images(manifest: Manifest) -> Iterator[str]:
    """Every image is one of infrastructure/versions.yaml, by its full name and tag."""
    for pod in pod_templates(manifest):
        for where, container in pod.containers():
            problem = image_problem(container.get("image", ""))
            if problem:
                yield f"{pod.where} {where}: {problem}"


@rule
def disruption_budget(manifest: Manifest) -> Iterator[str]:
    """What runs more than once, by its replicas or its autoscaler, has a PodDisruptionBudget."""
    if manifest.kind not in {"Deployment", "StatefulSet"}:
        return
    several = manifest.body["spec"].get("replicas", 1) > 1 or any(
        scaler.namespace == manifest.namespace
        and scaler.body["spec"]["scaleTargetRef"]["name"] == manifest.name
        and scaler.body["spec"].get("minReplicas", 1) > 1
        for scaler in of_kind("HorizontalPodAutoscaler")
    )
    pod = manifest.body["spec"]["template"]["metadata"].get("labels") or {}
    if several and not any(
        budget.namespace == manifest.namespace and selects(budget.body["spec"]["selector"], pod)
        for budget in of_kind("PodDisruptionBudget")
    ):
        yield "runs more than once without PodDisruptionBudget"


@rule
def no_secret_value(manifest: Manifest) -> Iterator[str]:
    """No secret value stands in a file."""
    if manifest.kind == "Secret" and (manifest.body.get("data") or manifest.body.get("stringData")):
        yield "a Secret with values in a file"
    for pod in pod_templates(manifest):
        for where, container in pod.containers():
            for variable in container.get("env") or []:
                value = str(variable.get("value", ""))
                harmless = not value or value.startswith(("$(", "/")) or value.lower() in {"true", "false"}
                if _SECRET_NAME.search(variable["name"]) and not harmless:
                    yield f"{where}: variable {variable['name']} has a literal value"
    found = _SECRET_TEXT.search(yaml.safe_dump(manifest.body, width=10_000))
    if found and manifest.kind != "CustomResourceDefinition":
        yield f"looks like a credential: {found.group()[:12]}…"


@cache
def excused() -> dict[tuple[str, str], str]:
    """Exceptions: (rule, object) to reason."""
    entries = yaml.safe_load((ROOT / "tests/manifests/exceptions.yaml").read_text())
    return {(entry["rule"], entry["object"]): entry["reason"] for entry in entries}


def violations(name: str) -> dict[str, list[str]]:
    """Object to what breaks the rule of this name, exceptions included."""
    found: dict[str, list[str]] = {}
    for manifest in manifests():
        problems = [f"{manifest.path}: {problem}" for problem in RULES[name](manifest)]
        if problems:
            found.setdefault(manifest.key, []).extend(problems)
    return found
