"""Releases by a real Gateway: the control plane in the cluster moves an HTTPRoute's weights on evidence that Prometheus scraped, while callers ask through Envoy."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maestro.clients.kubernetes.objects import Cluster, Ref
from tests.cluster.platform_stage import kubectl, until
from tests.node.callers import Callers
from tests.node.installation import Installation
from tests.node.reaching import Api, forwarded, inside, key_of

pytestmark = [pytest.mark.node, pytest.mark.timeout(1500)]

ROUTES = "gateway.networking.k8s.io/v1"
HOST = "models.maestro.local"
POLICY: dict[str, Any] = {
    "apiVersion": "maestro/v1", "kind": "RolloutPolicy", "metadata": {"name": "node"}, "alpha": 0.05,
    "rungs": [{"weight": 10, "margin_factor": 3}, {"weight": 50, "margin_factor": 1}, {"weight": 100, "bake": "10s"}],
    "metrics": [{"name": "errors", "bad": "error", "margin": 0.1}, {"name": "slow", "bad": "latency > 0.25s", "margin": 0.3}],
    "gates": {"contract": "required", "signature": "required", "lineage": "complete", "offline": {"metric": "f1", "margin": 0.5}, "approvals": 1},
    "budget": {"requests": 100000, "duration": "15m"},
}  # fmt: skip
WIDE = {"feature_service": "tumour_v1"}
NARROW = WIDE | {"from": "2026-01-01", "to": "2026-02-15"}


@pytest.fixture(scope="module")
def gateway(node: Cluster, installed: Installation) -> Iterator[str]:
    """The address of the Gateway in front of the slots, with the platform applied as its component has it."""
    if "GatewayClass" not in node.kinds(ROUTES, fresh=True) or not node.list(ROUTES, "GatewayClass"):
        pytest.skip("the cluster has no Gateway controller")
    kubectl("apply", "--server-side", "--force-conflicts", "-k", "tests/node/gateway")
    kubectl("rollout", "restart", "-n", "ml-platform", "deploy/control-plane-api")
    for name in ("ml-platform/control-plane-api", "ml-serving/model-champion", "ml-serving/model-challenger"):
        namespace, _, deployment = name.partition("/")
        kubectl("rollout", "status", "-n", namespace, f"deploy/{deployment}", "--timeout=110s")
    service = until(lambda: _proxy(node), "the Gateway has no proxy", 120)
    proxies = ("-n", "envoy-gateway-system", "pod", "-l", "gateway.envoyproxy.io/owning-gateway-name=maestro")
    kubectl("wait", *proxies, "--for=condition=Ready", "--timeout=110s")
    yield service
    kubectl("delete", "-f", "infrastructure/components/gateway/gateway.yaml", "--ignore-not-found")
    kubectl("apply", "--server-side", "--force-conflicts", "-k", "infrastructure/minikube")
    kubectl("rollout", "restart", "-n", "ml-platform", "deploy/control-plane-api")
    kubectl("rollout", "status", "-n", "ml-platform", "deploy/control-plane-api", "--timeout=110s")


@pytest.fixture(scope="module")
def certified(gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority of the Gateway's certificate, as `maestro platform secrets` made it."""
    kept = kubectl("get", "secret", "maestro-gateway-tls", "-n", "ml-serving", "-o", "jsonpath={.data.ca\\.crt}")
    path = tmp_path_factory.mktemp("gateway") / "ca.crt"
    path.write_bytes(base64.b64decode(kept))
    return path


@pytest.fixture(scope="module")
def control(gateway: str, installed: Installation) -> Iterator[Api]:
    """The API, once it moves the route."""
    with forwarded("ml-platform", "svc/control-plane-api", 8080) as url:
        yield Api(url, key_of("operator"))


@pytest.fixture(scope="module")
def approver(control: Api) -> Api:
    """The same API, as who may approve."""
    return Api(control.base_url, key_of("approver"))


def _proxy(node: Cluster) -> str:
    found = node.list(
        "v1", "Service", "envoy-gateway-system", labels={"gateway.envoyproxy.io/owning-gateway-name": "maestro"}
    )
    return f"https://{found[0]['spec']['clusterIP']}:443" if found else ""


def weights(node: Cluster) -> dict[str, int]:
    route = node.get(Ref(ROUTES, "HTTPRoute", "mlflow-model-server", "ml-serving"))
    return {one["name"]: one["weight"] for one in route["spec"]["rules"][0]["backendRefs"]}


def trained(control: Api, data: dict[str, Any], **params: Any) -> dict[str, Any]:
    """A version of the model `tumour`."""
    job = control.job({
        "name": f"release-{time.time_ns()}", "model_type": "classifier", "data": data, "params": {"algorithm": "logistic_regression", **params},
        "register_as": "tumour", "resources": {"cpu": 0.5, "memory": "1Gi"},
    })  # fmt: skip
    assert job["status"] == "completed", job

    def registered() -> dict[str, Any] | None:
        items = control.get("/versions", model="tumour", page_size=200)["items"]
        return next((one for one in items if one["run_id"] == job["run_id"]), None)

    version: dict[str, Any] = until(registered, "nothing was registered", 60)
    return version


def released(control: Api, approver: Api, version: dict[str, Any], within_s: float = 600) -> dict[str, Any]:
    """The rollout of a version once it has ended."""
    asked = control.post("/approvals", {"model": "tumour", "version": version["version"], "policy": POLICY})
    assert asked["status"] == "pending", asked["evidence"]["gates"]
    approver.post(f"/approvals/{asked['id']}/approve", {"comment": "gates and evidence read"})
    begun = control.post("/rollouts", {"model": "tumour", "version": version["version"], "policy": POLICY})["rollout"][
        "id"
    ]

    def ended() -> dict[str, Any] | None:
        rollout: dict[str, Any] = control.get(f"/rollouts/{begun}")["rollout"]
        return rollout if rollout["step"] == "done" else None

    found: dict[str, Any] = until(
        ended, f"rollout {begun} has not ended: {control.get(f'/rollouts/{begun}')}", within_s
    )
    return found


@pytest.fixture(scope="module")
def champion(control: Api, approver: Api) -> dict[str, Any]:
    """A version in production."""
    inside(
        "ml-platform", "deploy/control-plane-worker", "maestro", "features", "apply", "--dataset", "tumour", "--json"
    )
    version = trained(control, WIDE)
    assert released(control, approver, version)["status"] == "promoted"
    return version


def instance(version: dict[str, Any]) -> tuple[float, ...]:
    """The largest values that the version has seen: whoever saw fewer people has not."""
    return tuple(feature["max"] for feature in version["contract"]["features"])


@pytest.mark.shows("F1", "F2", "F3", "F7", "F8", "F10", env="cluster")
def test_a_good_release_earns_its_weights_and_no_request_fails(
    node: Cluster, gateway: str, certified: Path, control: Api, approver: Api, champion: dict[str, Any]
) -> None:
    better = trained(control, WIDE, C=0.5)
    seen: set[int] = set()
    with Callers(
        gateway,
        "tumour",
        rate=100,
        connections=4,
        host=HOST,
        authority=certified,
        key=key_of("operator"),
        instance=instance(champion),
    ) as callers:
        until(lambda: callers.answered > 50, "nobody answers", 60)
        began = time.monotonic()
        rollout = _watched(node, seen, lambda: released(control, approver, better))
        took = time.monotonic() - began
        time.sleep(3)
        last = callers.since()
    assert rollout["status"] == "promoted", rollout
    assert callers.failures == []
    assert {1000, 5000} <= seen
    assert weights(node)["model-challenger"] == 0
    print(
        json.dumps(
            {
                "promoted after s": round(took),
                "answers": callers.answered,
                "by version": callers.by_version,
                "weights seen": sorted(seen),
                "last": last,
            }
        )
    )


@pytest.mark.shows("F4", "F7", "F10", env="cluster")
def test_a_bad_release_is_rolled_back_and_no_request_fails(
    node: Cluster, gateway: str, certified: Path, control: Api, approver: Api, champion: dict[str, Any]
) -> None:
    narrow = trained(control, NARROW, on_out_of_range="refuse")
    with Callers(
        gateway,
        "tumour",
        rate=100,
        connections=4,
        host=HOST,
        authority=certified,
        key=key_of("operator"),
        instance=instance(champion),
    ) as callers:
        until(lambda: callers.answered > 50, "nobody answers", 60)
        began = time.monotonic()
        rollout = released(control, approver, narrow)
        took = time.monotonic() - began
        time.sleep(2)
    assert rollout["status"] == "rolled_back", rollout
    assert callers.failures == []
    assert weights(node)["model-challenger"] == 0
    print(
        json.dumps({"rolled back after s": round(took), "answers": callers.answered, "by version": callers.by_version})
    )


def _watched(node: Cluster, seen: set[int], work: Any) -> Any:
    """What `work` gives, while the weights of the route are written down."""
    import threading

    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            seen.add(weights(node)["model-challenger"])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        return work()
    finally:
        stop.set()
        thread.join(10)
