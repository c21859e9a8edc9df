"""A release on the node: the control plane there moves the router's split on what Prometheus scraped, while callers ask; a bad one goes back."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from maestro.clients.kubernetes.objects import Cluster
from tests.cluster.platform_stage import kubectl, until
from tests.node.callers import Callers, service_address
from tests.node.installation import Installation
from tests.node.reaching import Api, key_of
from tests.node.releases import MODEL, NARROW, WIDE, define_features, extremes, released, served, trained

pytestmark = [pytest.mark.node, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def approver(api: Api) -> Api:
    """The same API, as who may approve."""
    return Api(api.base_url, key_of("approver"))


@pytest.fixture(scope="module")
def champion(api: Api, approver: Api) -> dict[str, Any]:
    """A version in production; the first of a model needs no evidence."""
    define_features()
    version = trained(api, WIDE)
    if not served():
        assert released(api, approver, version)["status"] == "promoted"
    return version


@pytest.mark.shows("F1", "F2", "F7", "F8", "H1", "H2", "H15", "D8", "E1", "E6", env="cluster")
def test_a_good_release_earns_its_promotion_and_no_request_fails(
    node: Cluster, installed: Installation, api: Api, approver: Api, champion: dict[str, Any]
) -> None:
    better = trained(api, WIDE, C=0.5)
    url = service_address(node, "ml-serving", "model-router")
    with Callers(url, MODEL, rate=60, connections=3, instance=extremes(champion)) as callers:
        until(lambda: callers.answered > 20, f"nobody answers: {callers.failures[:3]}", 60)
        callers.failures.clear()
        began = time.monotonic()
        rollout = released(api, approver, better)
        took = time.monotonic() - began
        callers.by_version.clear()
        time.sleep(3)
    assert rollout["status"] == "promoted", rollout
    assert callers.failures == []
    assert set(callers.by_version) == {better["version"]}
    print(json.dumps({"promoted after s": round(took), "answers": callers.answered, "failed": len(callers.failures)}))


@pytest.mark.shows("F4", "F7", "F8", "H9", env="cluster")
def test_a_bad_release_goes_back_and_no_request_fails(
    node: Cluster, installed: Installation, api: Api, approver: Api, champion: dict[str, Any]
) -> None:
    narrow = trained(api, NARROW, on_out_of_range="refuse")
    url = service_address(node, "ml-serving", "model-router")
    with Callers(url, MODEL, rate=60, connections=3, instance=extremes(champion)) as callers:
        until(lambda: callers.answered > 20, f"nobody answers: {callers.failures[:3]}", 60)
        callers.failures.clear()
        began = time.monotonic()
        rollout = released(api, approver, narrow)
        took = time.monotonic() - began
        callers.by_version.clear()
        time.sleep(3)
    assert rollout["status"] == "rolled_back", rollout
    assert callers.failures == []
    assert narrow["version"] not in callers.by_version
    print(
        json.dumps({"rolled back after s": round(took), "answers": callers.answered, "failed": len(callers.failures)})
    )


@pytest.mark.shows("F10", "L15", "G11", env="cluster")
def test_killing_router_and_control_plane_in_mid_rollout_loses_nothing(
    node: Cluster, installed: Installation, api: Api, approver: Api, champion: dict[str, Any]
) -> None:
    again = trained(api, WIDE, C=2.0)
    name = {"model": MODEL, "version": again["version"]}
    url = service_address(node, "ml-serving", "model-router")
    with Callers(url, MODEL, rate=40, connections=2, instance=extremes(champion)) as callers:
        until(lambda: callers.answered > 20, f"nobody answers: {callers.failures[:3]}", 60)
        kubectl(
            "delete",
            "pod",
            "-n",
            "ml-platform",
            "-l",
            "app.kubernetes.io/name=control-plane-api",
            "--grace-period=0",
            "--force",
        )
        kubectl("rollout", "status", "-n", "ml-platform", "deploy/control-plane-api", "--timeout=110s")
        answered = callers.answered
        time.sleep(2)
    assert callers.answered > answered, "serving needs no control plane"
    kubectl(
        "delete", "pod", "-n", "ml-serving", "-l", "app.kubernetes.io/name=model-router", "--grace-period=0", "--force"
    )
    kubectl("rollout", "status", "-n", "ml-serving", "deploy/model-router", "--timeout=110s")
    with Callers(url, MODEL, rate=40, connections=2, instance=extremes(champion)) as callers:
        until(lambda: callers.answered > 20, f"nobody answers: {callers.failures[:3]}", 60)
    assert name["version"] not in callers.by_version
