"""The real Prometheus with the configuration that the cluster holds, as its own ServiceAccount: whom it finds, which rules it loads."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from maestro.clients.kubernetes import Cluster, Ref
from tests.cluster.platform_stage import ROOT, as_account, free_port, kubectl, maestro, make_volumes, simulated, until
from tests.manifests.named import DASHBOARDS, expressions

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

FILES = (
    "infrastructure/kubernetes/control-plane.yaml",
    "ab-testing/ab-test-deployment.yaml",
    "serving/mlflow-serving-deployment.yaml",
)


@dataclass(frozen=True)
class Watching:
    """A Prometheus that watches the cluster."""

    client: httpx.Client

    def ask(self, path: str, **parameters: str) -> Any:
        """Its answer."""
        answer = self.client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


@pytest.fixture(scope="module")
def watching(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watching]:
    if not simulated(cluster):
        pytest.skip("Prometheus in a pod: make test-node")
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus on PATH")
    folder = tmp_path_factory.mktemp("prometheus")
    kubectl("apply", "-f", "infrastructure/kubernetes/namespaces.yaml")
    assert maestro("secrets").returncode == 0
    make_volumes(cluster)
    # the operator's file brings the priority classes of every pod
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "infrastructure/kubernetes/training-operator.yaml")
    kubectl("delete", "validatingwebhookconfiguration", "validator.training-operator.kubeflow.org", check=False)
    kubectl("apply", "--server-side", "--force-conflicts", "-k", "monitoring")
    for path in FILES:
        kubectl("apply", "--server-side", "--force-conflicts", "-f", path)
    rules = folder / "rules"
    rules.mkdir()
    for name, text in cluster.get(Ref("v1", "ConfigMap", "prometheus-rules", "observability"))["data"].items():
        (rules / name).write_text(text)
    config = yaml.safe_load(
        cluster.get(Ref("v1", "ConfigMap", "prometheus", "observability"))["data"]["prometheus.yml"]
    )
    config["rule_files"] = [f"{rules}/*-rules.yaml"]
    kubeconfig = str(as_account(folder, "prometheus", "observability"))
    for job in config["scrape_configs"]:
        job.pop("authorization", None)  # the token of a pod
        for found in job.get("kubernetes_sd_configs", []):
            found["kubeconfig_file"] = kubeconfig
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
            until(lambda: process.poll() is not None or _ready(client), "Prometheus is ready")
            assert process.poll() is None, (folder / "log").read_text()
            yield Watching(client)
    finally:
        process.terminate()
        process.wait(20)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.HTTPError:
        return False


def targets(watching: Watching) -> dict[str, set[tuple[str, str]]]:
    """Pods and ports by job."""
    found: dict[str, set[tuple[str, str]]] = {}
    for one in watching.ask("targets", state="active")["activeTargets"]:
        pod = one["discoveredLabels"].get("__meta_kubernetes_pod_label_app_kubernetes_io_name", "")
        found.setdefault(one["labels"]["job"], set()).add((pod, one["scrapeUrl"].rsplit(":", 1)[1].split("/")[0]))
    return found


@pytest.mark.door
@pytest.mark.shows("J1", "J7", "J8", "B13", "H15", env="cluster", accepted="a container runtime")
def test_it_finds_every_service_of_ours_at_its_metrics_port_and_nobody_else(watching: Watching) -> None:
    wanted = {
        "control-plane": {("control-plane-api", "9464")},
        "worker": {("control-plane-worker", "9464")},
        "model-server": {
            (name, "8000") for name in ("mlflow-model-server", "model-champion", "model-challenger", "model-router")
        },
    }
    until(
        lambda: {job: found for job, found in targets(watching).items() if job in wanted} == wanted,
        "the pods are found",
        90,
    )
    # a simulated node has no address: the jobs of its kubelet find none
    assert set(targets(watching)) == {*wanted, "kube-state-metrics", "observability"}


@pytest.mark.door
@pytest.mark.shows("J3", "L10", env="cluster", accepted="a container runtime")
def test_it_loads_every_rule_that_the_cluster_holds(watching: Watching) -> None:
    groups = watching.ask("rules")["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"]
    assert len(alerts) >= 15
    assert {rule["health"] for rule in alerts} <= {"ok", "unknown"}
    books = {rule["annotations"]["runbook_url"].rsplit("/", 1)[1] for rule in alerts}
    assert all((ROOT / "operations/runbooks" / name).is_file() for name in books)


@pytest.mark.door
@pytest.mark.shows("J2", "I12", env="cluster", accepted="Grafana")
def test_every_query_of_the_dashboards_that_the_cluster_holds_is_answered(cluster: Cluster, watching: Watching) -> None:
    held: dict[str, str] = {}
    kubectl("apply", "--server-side", "--force-conflicts", "-k", "observability")
    for name in ("grafana-dashboards-serving", "grafana-dashboards-platform"):
        held |= cluster.get(Ref("v1", "ConfigMap", name, "observability"))["data"]
    assert {name: json.loads(text) for name, text in held.items()} == {
        path.name: json.loads(Path(path).read_text()) for path in DASHBOARDS
    }
    for place, expression in expressions():
        answer = watching.client.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, f"{place}: {answer.text}"


@pytest.mark.door
@pytest.mark.shows("I5", env="cluster", accepted="a container runtime")
def test_the_hourly_drift_job_is_made_gives_way_and_is_let_in(cluster: Cluster) -> None:
    kubectl("delete", "job", "drift-by-hand", "-n", "ml-platform", "--ignore-not-found", "--wait=true")
    kubectl("create", "job", "drift-by-hand", "--from=cronjob/drift-monitor", "-n", "ml-platform")
    (pod,) = until(
        lambda: cluster.list("v1", "Pod", "ml-platform", labels="job-name=drift-by-hand"), "the job has its pod"
    )
    lowest = min(
        one["value"] for one in cluster.list("scheduling.k8s.io/v1", "PriorityClass") if "maestro" in one["metadata"]["name"]
    )  # fmt: skip
    assert pod["spec"]["priority"] == lowest
    assert cluster.get(Ref("batch/v1", "CronJob", "drift-monitor", "ml-platform"))["spec"]["schedule"] == "7 * * * *"
    kubectl("delete", "job", "drift-by-hand", "-n", "ml-platform", "--wait=false")


@pytest.mark.door
@pytest.mark.shows("G13", env="cluster", accepted="metrics of running pods")
def test_the_autoscaler_follows_the_deployment_and_says_which_metric_it_lacks(
    cluster: Cluster, watching: Watching
) -> None:
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "serving/autoscaling/hpa-custom-metrics.yaml")
    ref = Ref("autoscaling/v2", "HorizontalPodAutoscaler", "mlflow-model-server", "ml-serving")

    def conditions() -> dict[str, str]:
        status = cluster.get(ref).get("status") or {}
        return {one["type"]: one["reason"] for one in status.get("conditions") or []}

    until(lambda: conditions().get("AbleToScale") == "SucceededGetScale", "it has found the Deployment", 60)
    spec = cluster.get(ref)["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"], len(spec["metrics"])) == (1, 3, 4)
    # nothing is scaled on a metric that is not there
    until(lambda: "ScalingActive" in conditions(), "it says whether it scales", 60)
    assert conditions()["ScalingActive"].startswith("FailedGet")
    assert cluster.get(Ref("apps/v1", "Deployment", "mlflow-model-server", "ml-serving"))["spec"]["replicas"] == 1
