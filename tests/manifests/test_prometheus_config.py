"""What Prometheus is told to scrape is there: labels and ports of real pods, services that exist, rules that are mounted."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.objects import ROOT, all_pods, of_kind

MANIFEST = ROOT / "monitoring/prometheus-deployment.yaml"


def text(name: str, key: str) -> str:
    (found,) = [one.body["data"][key] for one in of_kind("ConfigMap") if one.name == name and key in one.body["data"]]
    return str(found)


CONFIG: dict[str, Any] = yaml.safe_load(text("prometheus", "prometheus.yml"))
BY_PODS = [job for job in CONFIG["scrape_configs"] if "role: pod" in yaml.safe_dump(job)]


@pytest.mark.parametrize("job", BY_PODS, ids=lambda job: str(job["job_name"]))
def test_a_job_finds_pods_with_the_port_that_it_asks(job: dict[str, Any]) -> None:
    (namespace,) = job["kubernetes_sd_configs"][0]["namespaces"]["names"]
    keep = {rule["source_labels"][0]: rule["regex"] for rule in job["relabel_configs"] if rule.get("action") == "keep"}
    port = keep["__meta_kubernetes_pod_container_port_number"]
    found = []
    for pod in all_pods():
        labels = {
            "__meta_kubernetes_pod_label_" + re.sub(r"[^a-z0-9]", "_", name): value
            for name, value in pod.labels.items()
        }
        wanted = {name: value for name, value in keep.items() if "_label_" in name}
        if pod.owner.namespace == namespace and all(re.fullmatch(v, labels.get(k, "")) for k, v in wanted.items()):
            ports = {str(one["containerPort"]) for _, each in pod.containers() for one in each.get("ports") or []}
            assert port in ports, f"{pod} has no port {port}"
            found.append(pod)
    assert found, "no pod has these labels"


def test_what_is_named_by_address_is_a_service_with_that_port() -> None:
    services = {
        (one.name, one.namespace): {port["port"] for port in one.body["spec"]["ports"]} for one in of_kind("Service")
    }
    text_ = yaml.safe_dump(CONFIG)
    named = re.findall(r"\b([a-z-]+)\.(observability|ml-platform):(\d+)", text_)
    assert len(named) >= 4
    for name, namespace, port in named:
        assert int(port) in services[name, namespace], f"{name}.{namespace}:{port}"


def test_a_week_is_kept_and_the_rules_are_where_they_are_read() -> None:
    manifest = MANIFEST.read_text()
    assert "--storage.tsdb.retention.time=7d" in manifest
    assert CONFIG["rule_files"] == ["/etc/prometheus/rules/*-rules.yaml"]
    assert "name: prometheus-rules" in manifest
    given = yaml.safe_load((ROOT / "monitoring/kustomization.yaml").read_text())["configMapGenerator"]
    (rules,) = [one["files"] for one in given if one["name"] == "prometheus-rules"]
    assert {ROOT / "monitoring" / name for name in rules} == set((ROOT / "monitoring/alerts").glob("*-rules.yaml"))
    assert CONFIG["global"]["external_labels"]["runbooks"]


@pytest.mark.shows("I5", "J1", "J5", env="laptop")
@pytest.mark.door
def test_promtool_takes_the_configuration(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH (see the toolchain)")
    path = tmp_path / "prometheus.yml"
    path.write_text(
        text("prometheus", "prometheus.yml").replace("/etc/prometheus/rules", str(ROOT / "monitoring/alerts"))
    )
    done = subprocess.run(
        [promtool, "check", "config", "--syntax-only", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_logs_and_traces_are_kept_a_week_too_and_logs_carry_the_trace() -> None:
    loki = yaml.safe_load(text("loki", "loki.yaml"))
    assert loki["limits_config"]["retention_period"] == "168h"
    jaeger = yaml.safe_load(text("jaeger", "config.yaml"))
    assert jaeger["extensions"]["jaeger_storage"]["backends"]["local"]["badger"]["ttl"]["spans"] == "168h"
    assert set(jaeger["receivers"]["otlp"]["protocols"]) == {"grpc", "http"}
    assert 'trace = ""' in text("alloy", "config.alloy")


@pytest.mark.parametrize("name", ["drift-monitor", "sla-report", "platform-backup"])
def test_hourly_work_gives_way_and_a_missed_run_is_told(name: str) -> None:
    (job,) = [one.body for one in of_kind("CronJob") if one.name == name]
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    wanted = "maestro-platform" if name == "platform-backup" else "maestro-interruptible"
    assert pod["priorityClassName"] == wanted
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    assert job["spec"]["schedule"].split()[1] == "*", "every hour or more often"
