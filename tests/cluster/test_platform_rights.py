"""Who may do what: each line of access.yaml asked of the API server, and some tried by impersonation."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from maestro.clients.kubernetes import Cluster
from tests.cluster.platform_stage import ROOT, kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

TABLE: list[dict[str, Any]] = yaml.safe_load((ROOT / "tests/cluster/access.yaml").read_text())


@pytest.fixture(scope="module", autouse=True)
def _roles(cluster: Cluster) -> None:
    kubectl("apply", "-f", "infrastructure/kubernetes/namespaces.yaml")
    kubectl("apply", "-k", "security/rbac")
    for body in yaml.safe_load_all((ROOT / "infrastructure/kubernetes/control-plane.yaml").read_text()):
        if body["kind"] in {"Role", "RoleBinding", "ServiceAccount"}:
            cluster.apply(body, force=True)
    for body in yaml.safe_load_all((ROOT / "infrastructure/kubernetes/training-operator.yaml").read_text()):
        if body["kind"] in {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount"}:
            cluster.apply(body, force=True)


def may(cluster: Cluster, line: dict[str, Any]) -> bool:
    resource, _, subresource = line["resource"].partition("/")
    name, _, group = resource.partition(".")
    attributes = {
        "verb": line["verb"],
        "resource": name,
        "group": group,
        "subresource": subresource,
        "namespace": line["namespace"],
        "name": line.get("name", ""),
    }
    if ":" in line["who"]:
        subject: dict[str, Any] = {"user": "somebody", "groups": [line["who"], "system:authenticated"]}
    else:
        namespace, account = line["who"].split("/")
        subject = {
            "user": f"system:serviceaccount:{namespace}:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
        }
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {"name": ""}, "spec": {"resourceAttributes": attributes, **subject}}  # fmt: skip
    answer = cluster.connection.request(
        "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", what="ask for access", body=review
    )
    return bool(answer["status"]["allowed"])


@pytest.mark.shows("K3", env="cluster")
def test_everybody_may_what_the_table_says_and_no_more(cluster: Cluster) -> None:
    wrong = [line for line in TABLE if may(cluster, line) is not line["may"]]
    assert wrong == []
    assert len(TABLE) > 50


@pytest.mark.shows("K3", "K10", env="cluster")
def test_impersonated_people_are_let_and_refused() -> None:
    scientist = ("--as=ada", "--as-group=maestro:data-scientists", "--as-group=system:authenticated")
    assert "forbidden" in kubectl(*scientist, "get", "secrets", "-n", "ml-platform", check=False)
    assert "forbidden" not in kubectl(*scientist, "get", "pods", "-n", "kubeflow-training", check=False)
    assert "forbidden" in kubectl(
        *scientist, "delete", "networkpolicy", "default-deny", "-n", "kubeflow-training", check=False
    )
    nobody = ("--as=eve", "--as-group=system:authenticated")
    assert "forbidden" in kubectl(*nobody, "get", "pods", "-n", "ml-platform", check=False)
    caller = "--as=system:serviceaccount:kubeflow-training:training-job"
    assert "forbidden" in kubectl(caller, "get", "pods", "-n", "kubeflow-training", check=False)
