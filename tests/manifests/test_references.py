"""What objects name in each other is there, so that a file works alone after namespaces.yaml and `maestro platform secrets`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.manifests.constitution import selects
from tests.manifests.objects import Manifest, all_pods, manifests, of_kind, pod_templates
from tests.manifests.references import bound_accounts, configuration, promised_secrets, public_maps

STEP_ZERO = {
    Path("infrastructure/kubernetes/namespaces.yaml"),
    Path("infrastructure/kubernetes/training-operator.yaml"),
}
"""What jobs may count on: the namespaces, and the operator with its accounts and priority classes."""

BUILT_IN_ROLES = {"admin", "system:auth-delegator", "extension-apiserver-authentication-reader"}
"""Roles that every cluster has."""

COUNTED_ON = {
    Path("operations/backup-cronjob.yaml"): Path("infrastructure/kubernetes/control-plane.yaml"),
    Path("operations/restore-job.yaml"): Path("operations/backup-cronjob.yaml"),
}
"""Files about another file's objects: a backup is of the control plane's volume, a restore reads what the backup wrote."""

KUBERNETES_OWN = {("kube-system", "horizontal-pod-autoscaler")}
"""Accounts that every cluster has."""

PODS_OF_YOURS = {"mpi-launcher", "airflow-command"}
"""Policies about pods that a controller makes of jobs of yours: none stands in a file."""

WITH_PODS = [manifest for manifest in manifests() if next(pod_templates(manifest), None)]


def beside(manifest: Manifest, kind: str) -> dict[str, Manifest]:
    """The objects of a kind that stand when a file is applied alone."""
    return {
        other.name: other
        for other in of_kind(kind)
        if other.path in {manifest.path, COUNTED_ON.get(manifest.path), *STEP_ZERO}
        and other.namespace in {manifest.namespace, ""}
    }


@pytest.mark.parametrize("manifest", WITH_PODS, ids=str)
def test_what_a_pod_needs_stands_in_its_file(manifest: Manifest) -> None:
    missing = []
    for kind, name, key in configuration(manifest):
        there = beside(manifest, kind).get(name)
        made = promised_secrets().get((manifest.namespace, name)) if kind == "Secret" else None
        if kind == "ConfigMap" and (manifest.namespace, name) in public_maps():
            continue
        if there is None and made is None:
            claims = [claim["metadata"]["name"] for claim in manifest.body["spec"].get("volumeClaimTemplates") or []]
            if not (kind == "PersistentVolumeClaim" and name in claims):
                missing.append(f"{kind} {name}")
        elif made is not None and key is not None and key not in made:
            missing.append(f"Secret {name} has no key {key} in infrastructure/secrets.yaml")
        elif made is None and there is not None and kind == "ConfigMap" and key and key not in there.body["data"]:
            missing.append(f"ConfigMap {name} has no key {key}")
    for pod in pod_templates(manifest):
        account = pod.spec.get("serviceAccountName")
        if account not in beside(manifest, "ServiceAccount"):
            missing.append(f"ServiceAccount {account}")
        klass = pod.spec.get("priorityClassName")
        if klass and klass not in beside(manifest, "PriorityClass"):
            missing.append(f"PriorityClass {klass}")
    assert missing == []


@pytest.mark.parametrize("manifest", WITH_PODS, ids=str)
def test_a_volume_that_is_mounted_is_there(manifest: Manifest) -> None:
    claims = {
        claim["metadata"]["name"] for claim in (manifest.body.get("spec") or {}).get("volumeClaimTemplates") or []
    }
    for pod in pod_templates(manifest):
        volumes = {volume["name"] for volume in pod.spec.get("volumes") or []} | claims
        mounted = {mount["name"] for _, one in pod.containers() for mount in one.get("volumeMounts") or []}
        assert mounted == volumes, f"mounted and declared volumes of {pod} differ"


@pytest.mark.parametrize("service", of_kind("Service"), ids=str)
def test_a_service_finds_its_pods_and_their_port(service: Manifest) -> None:
    selector = service.body["spec"].get("selector")
    if service.body["spec"].get("type") == "ExternalName":
        return
    assert selector, "a Service without selector"
    pods = [
        pod for pod in all_pods()
        if pod.owner.namespace == service.namespace and selects({"matchLabels": selector}, pod.labels)
    ]  # fmt: skip
    assert pods, "no pod has these labels"
    for pod in pods:
        ports = [port for _, one in pod.containers() for port in one.get("ports") or []]
        known = {port.get("name") for port in ports} | {port["containerPort"] for port in ports}
        wanted = {port.get("targetPort", port["port"]) for port in service.body["spec"]["ports"]}
        assert wanted <= known, f"{pod} has no port {wanted - known}"


@pytest.mark.parametrize("policy", of_kind("NetworkPolicy", "PodDisruptionBudget"), ids=str)
def test_a_policy_selects_a_pod(policy: Manifest) -> None:
    selector = policy.body["spec"].get("podSelector", policy.body["spec"].get("selector"))
    assert (
        not selector
        or policy.name in PODS_OF_YOURS
        or any(pod.owner.namespace == policy.namespace and selects(selector, pod.labels) for pod in all_pods())
    )


@pytest.mark.parametrize("scaler", of_kind("HorizontalPodAutoscaler"), ids=str)
def test_an_autoscaler_names_a_workload(scaler: Manifest) -> None:
    target = scaler.body["spec"]["scaleTargetRef"]
    assert any(one.name == target["name"] and one.namespace == scaler.namespace for one in of_kind(target["kind"]))


@pytest.mark.parametrize("binding", of_kind("RoleBinding", "ClusterRoleBinding"), ids=str)
def test_a_binding_names_a_role_and_accounts_that_are_there(binding: Manifest) -> None:
    role = binding.body["roleRef"]
    known = {
        (one.kind, one.namespace if one.kind == "Role" else "", one.name) for one in of_kind("Role", "ClusterRole")
    }
    wanted = (role["kind"], binding.namespace if role["kind"] == "Role" else "", role["name"])
    assert wanted in known or role["name"] in BUILT_IN_ROLES
    accounts = {(one.namespace, one.name) for one in of_kind("ServiceAccount")}
    for subject in binding.body.get("subjects") or []:
        if subject["kind"] == "ServiceAccount":
            assert (subject["namespace"], subject["name"]) in accounts | KUBERNETES_OWN


def test_every_account_is_used() -> None:
    used = {(pod.owner.namespace, str(pod.spec.get("serviceAccountName"))) for pod in all_pods()}
    accounts = {(one.namespace, one.name) for one in of_kind("ServiceAccount")}
    assert accounts - used - {("ml-platform", "maestro-agent")} == set()
    assert bound_accounts() <= accounts | KUBERNETES_OWN


def test_every_secret_that_is_made_is_used() -> None:
    for namespace, name in promised_secrets():
        if (namespace, name) not in MADE_PODS_SECRETS:
            assert any(one.namespace == namespace and f"'{name}'" in repr(one.body) for one in manifests()), name


MADE_PODS_SECRETS = {("ml-training", "maestro-airflow-key")}
"""Of pods that a scheduler makes; `MAESTRO_AIRFLOW_SECRET` names it."""
