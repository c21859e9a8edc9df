"""`kubectl edit cm ab-test-config` under traffic: the split changes within seconds, and nobody notices but the arms."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
import yaml

from maestro.clients.kubernetes.objects import Cluster, Ref
from tests.cluster.platform_stage import kubectl, until
from tests.node.callers import Callers, service_address
from tests.node.installation import Installation

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]

MAP = Ref("v1", "ConfigMap", "ab-test-config", "ml-serving")


def set_split(cluster: Cluster, challenger: int) -> None:
    """As `kubectl edit` writes it."""
    graph = yaml.safe_load(cluster.get(MAP)["data"]["graph.yaml"])
    arms = graph["nodes"]["ab"]["arms"]
    arms[0]["weight"], arms[1]["weight"] = 10_000 - challenger, challenger
    graph["metadata"]["revision"] += 1
    change = {"data": {"graph.yaml": yaml.safe_dump(graph, sort_keys=False)}}
    kubectl(
        "patch",
        "configmap",
        "ab-test-config",
        "--namespace",
        "ml-serving",
        "--type",
        "merge",
        "--patch",
        json.dumps(change),
    )


def share(counted: Counter[str]) -> float:
    return counted["challenger"] / max(1, sum(counted.values()))


@pytest.mark.shows("H1", "H2", "H3", "F7", env="cluster")
def test_the_split_changes_under_traffic_and_no_request_fails(node: Cluster, installed: Installation) -> None:
    set_split(node, 1000)
    time.sleep(5)
    url = service_address(node, "ml-serving", "model-router")
    with Callers(url, "sample", rate=150, connections=6) as callers:
        callers.since()
        time.sleep(12)
        before = callers.since()
        began = time.monotonic()
        set_split(node, 5000)
        # so many to the challenger in half a second are no 10 %
        until(lambda: share(_window(callers)) > 0.3, "the split did not change", 15)
        took = time.monotonic() - began
        callers.since()
        time.sleep(12)
        after = callers.since()
        set_split(node, 0)
        time.sleep(5)
        callers.since()
        time.sleep(2)
        none = callers.since()
    assert callers.failures == []
    assert abs(share(before) - 0.1) < 0.05 < share(before) + 0.01
    assert abs(share(after) - 0.5) < 0.05
    assert share(none) == 0
    assert took < 5
    print(
        json.dumps(
            {
                "split": [round(share(one), 4) for one in (before, after, none)],
                "of": [sum(one.values()) for one in (before, after, none)],
                "changed after s": round(took, 2),
            }
        )
    )
    set_split(node, 1000)


def _window(callers: Callers) -> Counter[str]:
    callers.since()
    time.sleep(0.5)
    return callers.since()
