"""`maestro platform` on a real API server: doctor, secrets, plan, apply, status and remove, as a platform engineer runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from maestro.clients.kubernetes import Cluster, Ref
from maestro.operations.platform.layout import Layout
from tests.cluster.platform_stage import ROOT, install_optional, kubectl, maestro, make_volumes, simulated, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def _stage(cluster: Cluster) -> None:
    if not simulated(cluster):
        pytest.skip("the whole platform with pods that run: make test-node")
    # other tests install the jobs' kinds under their own name
    kinds = json.loads(kubectl("get", "crd", "-o", "json"))["items"]
    theirs = [one["metadata"]["name"] for one in kinds if one["spec"]["group"] == "kubeflow.org"]
    if theirs:
        kubectl("delete", "crd", *theirs)
    install_optional(cluster)


def document(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_before_anything_is_applied_the_doctor_says_what_is_missing(cluster: Cluster) -> None:
    if cluster.list("storage.k8s.io/v1", "StorageClass"):
        pytest.skip("this cluster has held the platform before")
    done = maestro("doctor", "--json")
    found = {one["check"]: one for one in document(done)["findings"]}
    assert done.returncode == 1
    assert found["Kubernetes version"]["verdict"] == "ok"
    assert found["storage class"]["verdict"] == "missing"
    assert "kubectl annotate storageclass" in found["storage class"]["remedy"]
    assert found["secrets"]["verdict"] == "missing"
    assert found["image digests"]["verdict"] == "warning"


@pytest.mark.shows("K8", env="cluster")
def test_secrets_need_their_namespaces_and_are_never_shown(cluster: Cluster) -> None:
    if cluster.find(Ref("v1", "Namespace", "ml-platform")) is None:
        refused = maestro("secrets", "--json")
        assert refused.returncode == 2
        assert "namespaces.yaml" in document(refused)["remedy"]
    kubectl("apply", "-f", "infrastructure/kubernetes/namespaces.yaml")
    made = maestro("secrets")
    assert made.returncode == 0, made.stderr
    values = [
        value
        for entry in Layout(ROOT).secrets()["secrets"]
        for value in kubectl(
            "get", "secret", entry["name"], "-n", entry["namespace"], "-o", "go-template={{range .data}}{{. | base64decode}}{{\"\\n\"}}{{end}}"
        ).split("\n")
        if len(value) > 10
    ]  # fmt: skip
    assert len(values) > 10
    again = maestro("secrets", "--json")
    assert {one["action"] for one in document(again)["secrets"]} == {"kept"}
    shown = made.stdout + made.stderr + again.stdout + again.stderr
    assert [value for value in values if value in shown] == []


@pytest.mark.shows("K8", env="cluster")
def test_a_secret_that_was_lost_in_part_is_completed_and_the_rest_kept(cluster: Cluster) -> None:
    ref = Ref("v1", "Secret", "postgresql-credentials", "ml-platform")
    before = cluster.get(ref)["data"]
    cluster.patch(ref, {"data": {"optuna-password": None}})
    assert maestro("secrets").returncode == 0
    after = cluster.get(ref)["data"]
    assert after["optuna-password"]
    assert {key: after[key] for key in before if key != "optuna-password"} == {
        key: value for key, value in before.items() if key != "optuna-password"
    }


@pytest.mark.shows("N1", "N3", env="cluster", accepted="a container runtime")
def test_an_apply_that_is_killed_goes_on_and_the_next_changes_nothing(cluster: Cluster) -> None:
    make_volumes(cluster)
    planned = document(maestro("plan", "--json"))
    assert planned["counts"]["create"] > 50
    first = subprocess.Popen(
        [sys.executable, "-m", "maestro", "platform", "apply", "--json"], cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env=os.environ,
    )  # fmt: skip
    until(lambda: cluster.find(Ref("v1", "ConfigMap", "mlflow", "ml-platform")), "the apply gets under way")
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = maestro("apply", "--wait", "90", "--json")
    assert second.returncode == 0, second.stdout + second.stderr
    third = maestro("apply", "--wait", "90", "--json")
    assert list(document(third)["counts"]) == ["unchanged"], document(third)["changed"]
    assert list(document(maestro("plan", "--json"))["counts"]) == ["unchanged"]
    status = maestro("status", "--json")
    waiting = {one["object"] for one in document(status)["objects"] if not one["ready"]}
    # an adapter that no simulated node runs cannot serve its API
    assert waiting <= {"APIService v1beta1.custom.metrics.k8s.io"}, status.stdout
    assert len(document(status)["objects"]) > 15


@pytest.mark.shows("B1", "D2", "D7", env="cluster", accepted="a container runtime")
def test_what_was_applied_is_ready() -> None:
    for kind in ("deployments", "statefulsets"):
        for one in json.loads(kubectl("get", kind, "-A", "-l", "app.kubernetes.io/part-of=maestro-ml", "-o", "json"))[
            "items"
        ]:
            name, wanted = one["metadata"]["name"], one["spec"].get("replicas", 1)
            assert one["status"].get("readyReplicas", 0) >= wanted, name
    done = maestro("doctor", "--json")
    found = {one["check"]: one["verdict"] for one in document(done)["findings"]}
    assert found["storage class"] == found["secrets"] == found["training operator"] == "ok"


def test_an_object_that_somebody_else_changed_is_told_and_taken_only_when_asked() -> None:
    kubectl(
        "patch",
        "deployment",
        "mlflow",
        "-n",
        "ml-platform",
        "--field-manager=somebody",
        "-p",
        '{"spec": {"replicas": 2}}',
    )
    told = maestro("apply", "--wait", "0", "--json")
    problem = document(told)
    assert told.returncode == 2
    assert problem["object"] == "Deployment ml-platform/mlflow"
    assert "somebody" in problem["detail"]
    assert "--take-over" in problem["remedy"]
    assert problem["applied"] < problem["of"]
    assert maestro("apply", "--wait", "0", "--take-over").returncode == 0
    assert kubectl("get", "deployment", "mlflow", "-n", "ml-platform", "-o", "jsonpath={.spec.replicas}") == "1"


def test_production_refuses_images_without_digest() -> None:
    refused = maestro("apply", "--profile", "production", "--json")
    assert refused.returncode == 4
    assert "docker.io/library/postgres:18.4" in document(refused)["images"]
    assert "maestro platform pin" in document(refused)["remedy"]


@pytest.mark.shows("N1", env="cluster", accepted="a container runtime")
def test_what_the_files_no_longer_hold_is_deleted_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    foreign = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "foreign", "namespace": "ml-platform"}}
    cluster.create(foreign)
    overlay = tmp_path / "without-feast"
    overlay.mkdir()
    base = os.path.relpath(ROOT / "infrastructure/minikube", overlay)
    gone = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: feast, namespace: ml-platform}, $patch: delete}"
    (overlay / "kustomization.yaml").write_text(json.dumps({"resources": [base], "patches": [{"patch": gone}]}))
    done = document(maestro("apply", "--profile", str(overlay), "--wait", "0", "--json"))
    assert [one["object"] for one in done["changed"] if one["action"] == "delete"] == ["Deployment ml-platform/feast"]
    assert cluster.find(Ref("v1", "ConfigMap", "foreign", "ml-platform")) is not None


@pytest.mark.parametrize("case", ["401", "403", "gone"])
def test_a_cluster_that_refuses_us_is_told_with_the_object_and_the_remedy(case: str, tmp_path: Path) -> None:
    config = json.loads(kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    if case == "401":
        config["users"][0]["user"] = {"token": "nobody"}
    elif case == "403":
        config["users"][0]["user"]["as"] = "nobody"
    else:
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    started = time.monotonic()
    done = maestro("apply", "--json", KUBECONFIG=str(path))
    problem = document(done)
    assert done.returncode == {"401": 4, "403": 4, "gone": 3}[case]
    assert problem["remedy"]
    assert "Traceback" not in done.stderr
    assert "nothing was undone" in problem["detail"] or case == "gone"
    assert time.monotonic() - started < 60


@pytest.mark.shows("N1", env="cluster", accepted="a container runtime")
def test_removing_keeps_the_data_unless_told_otherwise(cluster: Cluster) -> None:
    claims = json.loads(kubectl("get", "pvc", "-n", "ml-platform", "-o", "json"))["items"]
    assert len(claims) >= 4
    done = document(maestro("remove", "--json"))
    assert done["counts"]["delete"] > 50
    until(lambda: not cluster.list("apps/v1", "StatefulSet", "ml-platform"), "the services are gone")
    assert len(json.loads(kubectl("get", "pvc", "-n", "ml-platform", "-o", "json"))["items"]) == len(claims)
    assert cluster.find(Ref("v1", "Secret", "postgresql-credentials", "ml-platform")) is not None
    assert cluster.find(Ref("v1", "ConfigMap", "foreign", "ml-platform")) is not None
    assert maestro("remove", "--json").returncode == 0
    kubectl("delete", "pvc", "--all", "-n", "ml-platform", "--wait=false")
    kubectl("delete", "configmap", "foreign", "-n", "ml-platform")
