"""Rollouts on a real API server: every strategy with every way of moving traffic, and edits by hand."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
import yaml

from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.errors import BadInput, Refused
from maestro.core.graph import InferenceGraph
from maestro.core.policy import RolloutPolicy
from maestro.governance.production import production_node
from maestro.governance.rollouts import RolloutStatus
from maestro.governance.rollouts.rollback import instant_rollback
from maestro.security.trust import load_trust
from maestro.serving.targets import KubernetesTarget
from maestro.serving.targets._route import Carried
from maestro.serving.targets.httproute import HttpRoute
from tests.cluster import stage
from tests.cluster.leading import CASES, led, logged, on_cluster, roll_out, until_weight
from tests.cluster.platform_stage import ROOT, until
from tests.governance.conftest import OPS, Kit

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.mark.door
@pytest.mark.shows("F1", "F2", "F3", "F5", "F6", "F7", "H1", env="cluster")
@pytest.mark.parametrize(("strategy", "traffic"), CASES)
def test_each_strategy_promotes(
    strategy: str,
    traffic: str,
    kit: Kit,
    quick: RolloutPolicy,
    cluster: Cluster,
    place: str,
) -> None:
    """The promised kubectl commands see it: the graph, the pods' version, the weights."""
    on_cluster(kit, stage.serving(place, traffic))
    first = kit.champion(quick)
    assert stage.versions_serving(cluster, place, "champion") == [first.version] * 2
    assert led(kit, roll_out(kit, quick, strategy)) is RolloutStatus.PROMOTED
    graph = kit.governance.targets(kit.model).read()
    assert graph is not None
    served = production_node(graph)
    assert served is not None
    assert served.version != first.version
    assert stage.versions_serving(cluster, place, "champion") == [served.version] * 2
    until(lambda: not stage.versions_serving(cluster, place, "challenger"), "the old pods are gone")
    if traffic == "httproute":
        assert stage.route_weights(cluster, place) == {"model-champion": 10_000, "model-challenger": 0}
    shown = subprocess.run(
        ["kubectl", "get", "cm", "ab-test-config", "-n", place, "-o", r"jsonpath={.data.graph\.yaml}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert InferenceGraph.model_validate(yaml.safe_load(shown.stdout)) == graph


@pytest.mark.door
@pytest.mark.shows("F4", env="cluster")
@pytest.mark.shows("F8", env="cluster", accepted="a container runtime")
def test_a_bad_challenger_is_rolled_back(
    kit: Kit,
    quick: RolloutPolicy,
    cluster: Cluster,
    place: str,
) -> None:
    on_cluster(kit, stage.serving(place, "httproute"))
    first = kit.champion(quick)
    version = kit.register(f1=0.8)
    kit.approved(version, quick)
    kit.source.bad[version.version] = {"errors": 0.9}
    rollout = kit.governance.rollouts.start(OPS, version, quick)
    assert led(kit, rollout.id) is RolloutStatus.ROLLED_BACK
    assert stage.versions_serving(cluster, place, "champion") == [first.version] * 2
    assert stage.route_weights(cluster, place) == {"model-champion": 10_000, "model-challenger": 0}


@pytest.mark.parametrize(
    ("strategy", "traffic", "words"),
    [
        ("canary", "selector", "all traffic or none"),
        ("canary", "rolling", "one version"),
        ("shadow", "selector", "copies no requests"),
    ],
)
def test_a_strategy_that_the_way_of_moving_cannot_carry_is_refused_before_anything_changes(
    strategy: str,
    traffic: str,
    words: str,
    kit: Kit,
    quick: RolloutPolicy,
    cluster: Cluster,
    place: str,
) -> None:
    on_cluster(kit, stage.serving(place, traffic))
    first = kit.champion(quick)
    graph = kit.governance.targets(kit.model).read()
    with pytest.raises(BadInput, match=words) as refused:
        led(kit, roll_out(kit, quick, strategy))
    assert "MAESTRO_CLUSTER__SERVING__TRAFFIC" in refused.value.remedy
    assert kit.governance.targets(kit.model).read() == graph
    assert stage.versions_serving(cluster, place, "champion") == [first.version] * 2


@pytest.mark.door
@pytest.mark.shows("D9", "F10", env="cluster")
def test_going_back_by_the_route_takes_seconds(
    kit: Kit,
    quick: RolloutPolicy,
    cluster: Cluster,
    place: str,
) -> None:
    """From the word to the last request that the challenger gets: one write of the graph, one of the route."""
    on_cluster(kit, stage.serving(place, "httproute"))
    kit.champion(quick)
    rollout_id = roll_out(kit, quick, "canary")
    until_weight(kit, rollout_id, 10)
    target = kit.governance.targets(kit.model)
    began = time.monotonic()
    done = instant_rollback(
        target, kit.home.versions, load_trust(kit.home.trust_policy), kit.model, principal=OPS, at=kit.clock.now()
    )
    assert isinstance(target, KubernetesTarget)
    while stage.route_weights(cluster, place)["model-challenger"]:
        target.converge()
    took = time.monotonic() - began
    target.wait_ready(done.revision, 20)
    assert took <= 5.0


@pytest.mark.door
@pytest.mark.parametrize("what", ["graph", "route"])
@pytest.mark.shows("H1", env="cluster")
def test_an_edit_by_hand_is_honoured_recorded_and_freezes(
    what: str,
    kit: Kit,
    quick: RolloutPolicy,
    cluster: Cluster,
    place: str,
) -> None:
    """`kubectl edit` of the ConfigMap or of the HTTPRoute, in the middle of a rollout; then a person lifts the freeze."""
    on_cluster(kit, stage.serving(place, "httproute"))
    kit.champion(quick)
    rollout_id = roll_out(kit, quick, "canary")
    until_weight(kit, rollout_id, 10)
    before = max(item.seq for item in logged(kit))
    if what == "graph":
        graph = kit.governance.targets(kit.model).read()
        assert graph is not None
        document = graph.document()
        for arm in document["nodes"]["split"]["arms"]:
            arm["weight"] = 5000
        change = {"data": {"graph.yaml": yaml.safe_dump(document)}}
        _kubectl("patch", "cm", "ab-test-config", "-n", place, "--type=merge", "-p", json.dumps(change))
    else:
        weights = [
            {"op": "replace", "path": f"/spec/rules/0/backendRefs/{index}/weight", "value": 5} for index in (0, 1)
        ]
        _kubectl("patch", "httproute", "mlflow-model-server", "-n", place, "--type=json", "-p", json.dumps(weights))
    assert led(kit, rollout_id) is RolloutStatus.FROZEN
    kinds = [item.kind for item in logged(kit, after=before)]
    assert "graph.foreign" in kinds
    assert "rollout.frozen" in kinds
    target = kit.governance.targets(kit.model)
    assert isinstance(target, KubernetesTarget)
    while target.converge():
        time.sleep(0.1)
    weights_now = stage.route_weights(cluster, place)
    assert weights_now["model-champion"] == weights_now["model-challenger"]
    kit.governance.rollouts.resume(OPS, rollout_id)
    assert led(kit, rollout_id) is RolloutStatus.PROMOTED


def test_an_edit_that_lets_in_a_version_without_statement_is_not_carried_out(
    kit: Kit,
    quick: RolloutPolicy,
    cluster: Cluster,
    place: str,
) -> None:
    on_cluster(kit, stage.serving(place, "httproute"))
    first = kit.champion(quick)
    unapproved = kit.register(f1=0.8)
    target = kit.governance.targets(kit.model)
    graph = target.read()
    assert graph is not None
    document = graph.document()
    document["nodes"]["champion"] |= {"version": unapproved.version, "digest": unapproved.digest}
    change = {"data": {"graph.yaml": yaml.safe_dump(document)}}
    _kubectl("patch", "cm", "ab-test-config", "-n", place, "--type=merge", "-p", json.dumps(change))
    assert isinstance(target, KubernetesTarget)
    with pytest.raises(Refused):
        target.converge()
    assert stage.versions_serving(cluster, place, "champion") == [first.version] * 2


def _kubectl(*arguments: str) -> None:
    done = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_route_of_the_manifests_carries_weights_and_a_mirror_and_keeps_the_rest(
    cluster: Cluster, place: str
) -> None:
    """The HTTPRoute of the optional part `gateway`: its matches, names and parents stay."""
    bodies = yaml.safe_load_all((ROOT / "infrastructure/components/gateway/gateway.yaml").read_text())
    (body,) = [body for body in bodies if body["kind"] == "HTTPRoute"]
    body["metadata"]["namespace"] = place
    ref = Ref.of(body)
    cluster.delete(ref)
    cluster.create(body)
    route = HttpRoute(cluster, stage.serving(place, "httproute"))
    before = cluster.get(ref)["spec"]
    assert (route.read().weight, route.read().mirror) == (0, None)
    for carried in (Carried(weight=1000, graph="g1"), Carried(weight=0, mirror=1.0, graph="g2")):
        route.write(carried)
        assert route.read() == carried
    route.write(Carried(weight=0, graph="g3"))
    after = cluster.get(ref)["spec"]
    assert after == before


def test_every_object_is_named_for_the_promised_commands(cluster: Cluster, place: str) -> None:
    for kind, name in (("Deployment", "model-champion"), ("Deployment", "model-challenger")):
        assert cluster.get(Ref("apps/v1", kind, name, place))
