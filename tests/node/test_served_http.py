"""The model server on the node: the contract's `curl`, and what a killed or replaced pod costs."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from maestro.clients.kubernetes.objects import Cluster, Ref
from tests.cluster.platform_stage import kubectl, until
from tests.node.callers import Callers, service_address
from tests.node.installation import Installation
from tests.node.reaching import forwarded, inside

pytestmark = [pytest.mark.node, pytest.mark.timeout(1200)]

ASK = '{"instances": [[1,2,3,4,5]]}'
ANSWER = 0.5 * 1 - 0.25 * 2 + 3 + 0.125 * 4 + 2 * 5 + 1


@pytest.mark.shows("G1", "G17", "G11", env="cluster")
def test_the_promised_curl_answers_with_the_signed_sample(installed: Installation) -> None:
    with forwarded("ml-serving", "svc/mlflow-model-server", 80) as url:
        told = subprocess.run(
            ["curl", "-sS", "-X", "POST", f"{url}/predict", "-H", "Content-Type: application/json", "-d", ASK],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        ready = subprocess.run(
            ["curl", "-sS", f"{url}/v2/health/ready"], capture_output=True, text=True, timeout=20, check=True
        )
    assert json.loads(told.stdout)["predictions"] == [ANSWER]
    assert "sample" in ready.stdout


@pytest.mark.shows("G1", env="cluster")
def test_by_its_name_in_the_cluster(installed: Installation) -> None:
    code = (
        "import urllib.request as u; print(u.urlopen(u.Request('http://mlflow-model-server/predict', "
        f"data=b'{ASK}', headers={{'Content-Type': 'application/json'}}), timeout=5).read().decode())"
    )
    told = inside("ml-serving", "deploy/model-router", "python", "-c", code, container="router")
    assert json.loads(told)["predictions"] == [ANSWER]


@pytest.mark.shows("F7", "F8", env="cluster")
def test_replacing_every_pod_costs_no_request(node: Cluster, installed: Installation) -> None:
    url = service_address(node, "ml-serving", "mlflow-model-server")
    with Callers(url, "sample") as callers:
        time.sleep(2)
        kubectl("rollout", "restart", "--namespace", "ml-serving", "deploy/mlflow-model-server")
        kubectl("rollout", "status", "--namespace", "ml-serving", "deploy/mlflow-model-server", "--timeout", "110s")
        time.sleep(8)
    assert callers.failures == []
    assert callers.answered > 200


@pytest.mark.shows("G11", env="cluster")
def test_a_killed_pod_is_replaced_and_serves_the_same(node: Cluster, installed: Installation) -> None:
    def serving() -> list[dict[str, Any]]:
        pods = node.list("v1", "Pod", "ml-serving", labels={"app.kubernetes.io/name": "mlflow-model-server"})
        return [
            pod for pod in pods
            if "deletionTimestamp" not in pod["metadata"]
            and any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))
        ]  # fmt: skip

    killed = serving()[0]
    began = time.monotonic()
    kubectl("delete", "pod", "--namespace", "ml-serving", killed["metadata"]["name"], "--grace-period=0", "--force")
    until(
        lambda: any(pod["metadata"]["uid"] != killed["metadata"]["uid"] for pod in serving()), "no other pod serves", 90
    )
    url = service_address(node, "ml-serving", "mlflow-model-server")
    with Callers(url, "sample") as callers:
        time.sleep(1)
    assert callers.failures == []
    assert callers.values == {json.dumps(ANSWER)}
    print(json.dumps({"model server back after s": round(time.monotonic() - began, 1)}))
    assert node.find(Ref("v1", "Pod", killed["metadata"]["name"], "ml-serving")) is None
