"""Releases by a real Gateway: the control plane in the cluster moves an HTTPRoute's weights on evidence that Prometheus scraped, while callers ask through Envoy."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from maestro.clients.kubernetes.objects import Cluster, Ref
from tests.cluster.platform_stage import kubectl, until
from tests.node.callers import Callers
from tests.node.installation import Installation
from tests.node.reaching import Api, key_of
from tests.node.releases import MODEL, NARROW, WIDE, define_features, extremes, released, served, trained

pytestmark = [pytest.mark.node, pytest.mark.timeout(1500)]

ROUTES = "gateway.networking.k8s.io/v1"
HOST = "models.maestro.local"


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
def control(gateway: str, api: Api) -> Api:
    """The API, once it moves the route."""
    return api


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


@pytest.fixture(scope="module")
def champion(control: Api, approver: Api) -> dict[str, Any]:
    """A version in production; the first of a model needs no evidence."""
    define_features()
    version = trained(control, WIDE)
    if not served():
        assert released(control, approver, version)["status"] == "promoted"
    return version


@contextmanager
def _asked(gateway: str, certified: Path, champion: dict[str, Any]) -> Iterator[Callers]:
    """Traffic through the Gateway, from the moment that it is answered."""
    with Callers(
        gateway,
        MODEL,
        rate=100,
        connections=4,
        host=HOST,
        authority=certified,
        key=key_of("operator"),
        instance=extremes(champion),
    ) as callers:
        until(lambda: callers.answered > 50, "nobody answers", 60)
        yield callers


@pytest.mark.shows("F1", "F2", "F3", "F7", "F8", "F10", env="cluster")
def test_a_good_release_earns_its_weights_and_no_request_fails(
    node: Cluster, gateway: str, certified: Path, control: Api, approver: Api, champion: dict[str, Any]
) -> None:
    better = trained(control, WIDE, C=0.5)
    seen: set[int] = set()
    with _asked(gateway, certified, champion) as callers:
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
    with _asked(gateway, certified, champion) as callers:
        began = time.monotonic()
        rollout = released(control, approver, narrow)
        took = time.monotonic() - began
        time.sleep(2)
    assert rollout["status"] == "rolled_back", rollout
    assert callers.failures == []
    assert weights(node)["model-challenger"] == 0
    decided = datetime.fromisoformat(control.get(f"/rollouts/{rollout['id']}")["decision"]["at"])
    back = (callers.last["challenger"] - decided).total_seconds()
    assert back < 5
    print(
        json.dumps({
            "rolled back after s": round(took), "last challenger answer after the decision, s": round(back, 2),
            "answers": callers.answered, "by version": callers.by_version, "by arm": callers.by_arm,
        })
    )  # fmt: skip


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
