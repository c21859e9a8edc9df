"""The small platform as it is applied: its pods really start, under Pod Security `restricted`."""

from __future__ import annotations

import json

import httpx
import pytest

from maestro.clients.kubernetes.objects import Cluster
from tests.cluster.platform_stage import kubectl, until
from tests.node.installation import NAMESPACES, Installation, workloads
from tests.node.reaching import forwarded, inside
from tests.node.stand_ins.catalogue import NO_PROGRAM

pytestmark = [pytest.mark.node, pytest.mark.timeout(1200)]


@pytest.mark.shows("B1", "N1", "N3", "L11", env="cluster")
def test_everything_starts_that_has_a_program_here(node: Cluster, installed: Installation) -> None:
    not_built = {name for name, image in installed.no_image.items() if image.startswith("localhost/")}
    assert set(installed.no_image) - not_built <= set(NO_PROGRAM.values())
    assert all("airflow" in name or "feast" in name for name in not_built)
    names = {f"{body['kind']}/{body['metadata']['name']}" for body in workloads(node)}
    assert names == set(installed.ready) | set(installed.no_image)
    print(
        json.dumps(
            {
                "ready after s": {name: round(at) for name, at in sorted(installed.ready.items())},
                "no image": sorted(installed.no_image),
            }
        )
    )


@pytest.mark.shows("K10", env="cluster")
def test_no_pod_runs_as_root_or_with_more_than_it_needs(node: Cluster, installed: Installation) -> None:
    for namespace in NAMESPACES:
        labels = node.list("v1", "Namespace")
        enforced = next(one["metadata"]["labels"] for one in labels if one["metadata"]["name"] == namespace)
        assert enforced["pod-security.kubernetes.io/enforce"] == "restricted"
    told = inside(
        "ml-serving",
        "deploy/mlflow-model-server",
        "sh",
        "-c",
        "id -u; touch /opt/x || echo read-only; ls /var/run/secrets || echo none",
        container="server",
    )
    assert "10001" in told
    assert "read-only" in told
    assert "none" in told


@pytest.mark.shows("D2", "D7", env="cluster")
def test_mlflow_answers_on_the_promised_port_with_postgresql_and_s3_behind_it(
    node: Cluster, installed: Installation
) -> None:
    address = next(
        one["address"] for one in node.list("v1", "Node")[0]["status"]["addresses"] if one["type"] == "InternalIP"
    )
    url = f"http://{address}:30500"
    assert httpx.get(f"{url}/health", trust_env=False).text == "OK"
    made = httpx.post(
        f"{url}/api/2.0/mlflow/experiments/create",
        json={"name": f"node-{kubectl('get', 'ns', 'default', '-o', 'jsonpath={.metadata.uid}')}-{id(node)}"},
        trust_env=False,
    )
    assert made.status_code == 200, made.text
    tables = inside(
        "ml-platform",
        "postgresql-0",
        "sh",
        "-c",
        "PGPASSWORD=$(cat /credentials/mlflow-password) psql -h 127.0.0.1 -U mlflow -d mlflow -tAc 'select count(*) from experiments'",
        container="postgresql",
    )
    assert int(tables) >= 2


@pytest.mark.shows("N1", env="cluster")
def test_applying_again_starts_nothing_anew(node: Cluster, installed: Installation) -> None:
    def pods() -> set[str]:
        return {
            pod["metadata"]["uid"]
            for namespace in NAMESPACES
            for pod in node.list("v1", "Pod", namespace)
            if pod["status"]["phase"] == "Running"
        }

    before = pods()
    kubectl("apply", "--server-side", "--force-conflicts", "-k", "infrastructure/minikube")
    assert before <= pods()


@pytest.mark.shows("J1", "J7", "J8", env="cluster")
def test_prometheus_scrapes_every_program_of_ours_and_the_node(node: Cluster, installed: Installation) -> None:
    ours = {"model-server", "control-plane", "worker", "kubelet", "cadvisor"}

    def healthy() -> set[str]:
        with forwarded("observability", "svc/prometheus", 9090) as url:
            found = httpx.get(f"{url}/api/v1/targets", params={"state": "active"}, trust_env=False).json()["data"]
        return {one["labels"]["job"] for one in found["activeTargets"] if one["health"] == "up"}

    until(lambda: ours <= healthy(), f"not scraped: {ours - healthy()}", 90)
