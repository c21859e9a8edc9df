"""Network policies let through what is meant and nothing else: every pair of workloads against the tables of flows/."""

from __future__ import annotations

import pytest
import yaml

from tests.manifests.network import OUTSIDE, Flow, flows, ways_out, workloads
from tests.manifests.objects import ROOT, of_kind

TABLES = sorted((ROOT / "tests/manifests/flows").glob("*.yaml"))


def intended() -> set[Flow]:
    """Every line of every table: source, target, ports."""
    found = set()
    for path in TABLES:
        for line in yaml.safe_load(path.read_text())["flows"]:
            sources = line["from"] if isinstance(line["from"], list) else [line["from"]]
            for source in sources:
                found |= {Flow(source, line["to"], port) for port in line["ports"]}
    return found


def exits() -> set[Flow]:
    found = set()
    for path in TABLES:
        for line in yaml.safe_load(path.read_text()).get("exits", []):
            sources = line["from"] if isinstance(line["from"], list) else [line["from"]]
            found |= {Flow(source, OUTSIDE, port) for source in sources for port in line["ports"]}
    return found


@pytest.mark.door
@pytest.mark.shows("K4", "K10", env="cluster", accepted="a network that enforces policies")
def test_what_may_reach_what_is_what_is_meant() -> None:
    there, meant = set(flows()), intended()
    assert sorted(map(str, there - meant)) == [], "open, and in no table"
    assert sorted(map(str, meant - there)) == [], "meant, and closed"
    assert sorted(map(str, set(ways_out()) - exits())) == [], "may leave, and is in no table"
    assert sorted(map(str, exits() - set(ways_out()))) == [], "meant to leave, and closed"


@pytest.mark.shows("K10", env="cluster", accepted="a network that enforces policies")
def test_training_pods_reach_no_store_and_nothing_outside() -> None:
    reached = {flow.target for flow in flows() if flow.source.endswith("/training-job")}
    assert not {one for one in reached if one.startswith(("vault/", "ml-serving/"))}
    assert not reached & {"ml-platform/postgresql", "ml-platform/object-store", "ml-platform/control-plane-api"}
    assert not [flow for flow in ways_out() if flow.source.endswith("/training-job")]


def test_every_namespace_denies_by_default() -> None:
    spaces = {one.name for one in of_kind("Namespace")}
    for name, kinds in (("default-deny", {"Ingress", "Egress"}), ("allow-dns", {"Egress"})):
        policies = {one.namespace: one for one in of_kind("NetworkPolicy") if one.name == name}
        assert set(policies) == spaces
        assert all(set(one.body["spec"]["policyTypes"]) == kinds for one in policies.values())
        assert all(one.body["spec"]["podSelector"] == {} for one in policies.values())


def test_the_evaluator_sees_every_workload() -> None:
    assert len(workloads()) > 10
    assert all(one.labels for one in workloads())
    assert {flow.target for flow in flows()} <= {str(one) for one in workloads()}
