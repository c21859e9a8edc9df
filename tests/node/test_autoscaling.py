"""The autoscaler on a real metric: requests a second, by Prometheus and prometheus-adapter."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from maestro.clients.kubernetes.objects import Cluster, Ref
from tests.cluster.platform_stage import kubectl, until
from tests.node.callers import Callers, service_address
from tests.node.installation import Installation

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

METRIC = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/ml-serving/pods/*/maestro_responses_per_second"
SERVER = Ref("apps/v1", "Deployment", "mlflow-model-server", "ml-serving")


def measured() -> list[str]:
    """Each pod's requests a second that are not nothing; none while the adapter does not know the metric yet."""
    said = kubectl("get", "--raw", METRIC, check=False)
    found = json.loads(said) if said.startswith("{") else {"items": []}
    return [one["value"] for one in found["items"] if one["value"] != "0"]


@pytest.fixture
def eager(installed: Installation) -> Iterator[None]:
    """The same autoscaler with a target that the node can reach: 25 requests a second a pod."""

    def target(value: str) -> None:
        found = json.loads(kubectl("get", "hpa", "-n", "ml-serving", "mlflow-model-server", "-o", "json"))
        metrics = found["spec"]["metrics"]
        for metric in metrics:
            if (metric.get("pods") or {}).get("metric", {}).get("name") == "maestro_responses_per_second":
                metric["pods"]["target"]["averageValue"] = value
        patch = json.dumps({"spec": {"metrics": metrics}})
        kubectl("patch", "hpa", "-n", "ml-serving", "mlflow-model-server", "--type", "merge", "--patch", patch)

    target("25")
    yield
    target("500")


@pytest.mark.shows("G13", "B13", "J1", env="cluster")
def test_more_requests_a_second_bring_more_pods(node: Cluster, installed: Installation, eager: None) -> None:
    url = service_address(node, "ml-serving", "mlflow-model-server")
    began = time.monotonic()
    with Callers(url, "sample", rate=120, connections=6, fresh=True) as callers:
        values = until(measured, "no metric", 240)
        first = time.monotonic() - began
        until(lambda: node.get(SERVER)["status"].get("readyReplicas", 0) >= 2, "it does not scale", 240)
        second = time.monotonic() - began
        until(lambda: node.get(SERVER)["spec"]["replicas"] == 3, "it does not scale to its most", 240)
        time.sleep(5)
    assert callers.failures == []
    told = kubectl(
        "get",
        "hpa",
        "-n",
        "ml-serving",
        "mlflow-model-server",
        "-o",
        "jsonpath={.status.conditions[?(@.type=='ScalingActive')].status}",
    )
    assert told == "True"
    print(json.dumps({"metric after s": round(first), "values": values, "second pod ready after s": round(second)}))
