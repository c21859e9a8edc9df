"""Rollouts on a real API server: every strategy, controllers killed at every effect, edits by hand, and the same story as on a laptop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from threading import Event

import pytest
import yaml
from sqlalchemy import event as engine_event

from maestro.clients.database import Database, open_database
from maestro.clients.database.outbox import events
from maestro.clients.kubernetes.connection import Connection
from maestro.clients.kubernetes.objects import Cluster, Ref
from maestro.core.cluster import ClusterServing
from maestro.core.errors import BadInput, Refused
from maestro.core.events import Event as Logged
from maestro.core.events import projection
from maestro.core.graph import InferenceGraph
from maestro.core.policy import RolloutPolicy, Rung
from maestro.governance.production import production_node
from maestro.governance.rollouts import RolloutStatus, Step
from maestro.governance.rollouts.rollback import instant_rollback
from maestro.security.trust import load_trust
from maestro.serving.targets import KubernetesTarget, kubernetes_target
from maestro.serving.targets._route import Carried
from maestro.serving.targets.httproute import HttpRoute
from tests.cluster import stage
from tests.cluster.platform_stage import ROOT, until
from tests.governance.conftest import OPS, Kit

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

MakeKit = Callable[[Database], Kit]


@pytest.fixture
def quick(policy: RolloutPolicy) -> RolloutPolicy:
    """A policy that a few seconds of traffic decide, by errors and latency alone."""
    metrics = tuple(
        metric.model_copy(update={"margin": 0.3, "tolerate": 0.2})
        for metric in policy.metrics
        if metric.event != "wrong"
    )
    rungs = (Rung(weight=10), Rung(weight=50), Rung(weight=100, bake=timedelta(seconds=1)))
    return policy.model_copy(update={"metrics": metrics, "rungs": rungs})


@pytest.fixture
def place(cluster: Cluster, namespace: str, request: pytest.FixtureRequest) -> str:
    """A namespace with slots and a route."""
    if why := stage.install_gateway(cluster):
        pytest.skip(why)
    stage.set_up(cluster, namespace)
    return namespace


def on_cluster(kit: Kit, options: ClusterServing) -> Kit:
    """The kit's governance, moving traffic in the cluster."""
    cluster = Cluster(Connection.load(), stage.PacedClock(kit.clock))
    targets: dict[str, KubernetesTarget] = {}

    def target(model: str) -> KubernetesTarget:
        if model not in targets:
            targets[model] = kubernetes_target(cluster, options, kit.home, model)
        return targets[model]

    source = stage.MirroredSource(target, kit.clock, kit.source.bad)  # type: ignore[arg-type]
    kit.source = source
    kit.governance.targets = target
    kit.governance.sources = lambda _: source
    return kit


def roll_out(kit: Kit, policy: RolloutPolicy, strategy: str, **metrics: float) -> str:
    version = kit.register(f1=metrics.get("f1", 0.8))
    kit.approved(version, policy)
    return kit.governance.rollouts.start(OPS, version, policy, strategy).id


def led(kit: Kit, rollout_id: str) -> RolloutStatus:
    ended = kit.governance.rollouts.run(rollout_id, Event())
    assert ended is not None
    return ended.status


def told(kit: Kit, after: int = 0) -> list[tuple[object, ...]]:
    with kit.database.read() as connection:
        return [tuple(row) for row in projection(events(connection, after=after))]


CASES = [
    ("canary", "httproute"),
    ("shadow", "httproute"),
    ("blue-green", "selector"),
    ("blue-green", "httproute"),
    ("rolling", "rolling"),
    ("rolling", "httproute"),
]


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


def until_weight(kit: Kit, rollout_id: str, weight: float) -> None:
    """Lead a rollout until it watches a rung."""
    fence = kit.governance.rollout_store.acquire(rollout_id)
    assert fence is not None
    transitions = kit.governance.rollouts._transitions
    deadline = time.monotonic() + 60
    rollout = kit.governance.rollout_store.get(rollout_id)
    while not (rollout.step is Step.WATCH and rollout.weight == weight):
        assert time.monotonic() < deadline, rollout
        rollout = transitions.advance(rollout, fence)
    kit.governance.rollout_store.let_go(rollout_id, fence)


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
    before = max(item.seq for item in _events(kit))
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
    kinds = [item.kind for item in _events(kit, after=before)]
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


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "traffic"), CASES)
@pytest.mark.shows("F7", env="cluster")
def test_killed_at_each_effect(
    strategy: str,
    traffic: str,
    kit: Kit,
    make_kit: MakeKit,
    quick: RolloutPolicy,
    cluster: Cluster,
    place: str,
) -> None:
    """SIGKILL after each commit and each write to the API server, in turn; another goes on, and what was told is the same."""
    options = stage.serving(place, traffic)
    on_cluster(kit, options)
    kit.champion(quick)
    expected: list[tuple[object, ...]] | None = None
    effect, killed = 0, True
    while killed:
        last = max(item.seq for item in _events(kit))
        rollout_id = roll_out(kit, quick, strategy)
        effect += 1
        killed = _killed_at(kit, make_kit, options, rollout_id, effect)
        kit.clock.sleep(60)  # the dead controller's lease ends
        kit.source.counters.clear()
        kit.source.epoch = f"after-{effect}"
        if killed:
            kit.governance.rollouts.run(rollout_id, Event())
        ended = kit.governance.rollout_store.get(rollout_id)
        assert (ended.status, ended.step) == (RolloutStatus.PROMOTED, Step.DONE), (effect, ended)
        assert stage.versions_serving(cluster, place, "champion") == [ended.challenger] * 2
        moves = [
            row for row in told(kit, last) if row[0] not in {"rollout.judged", "rollout.started", "rollout.finished"}
        ]
        expected = expected or moves
        assert moves == expected, effect
    assert effect > 8


@pytest.mark.shows("F7", env="cluster")
def test_the_same_scenario_tells_the_same_story_as_on_a_laptop(
    make_kit: MakeKit,
    quick: RolloutPolicy,
    place: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A promotion, a roll-back and a blue-green switch: the projections of both event logs are equal."""
    stories = []
    for where in ("laptop", "cluster"):
        from maestro.clients.database.migrate import migrate

        database = open_database(f"sqlite:///{tmp_path_factory.mktemp(where) / 'maestro.db'}")
        migrate(database)
        own = make_kit(database)
        if where == "cluster":
            on_cluster(own, stage.serving(place, "httproute"))
        own.champion(quick)
        led(own, roll_out(own, quick, "canary"))
        bad = own.register(f1=0.8)
        own.approved(bad, quick)
        own.source.bad[bad.version] = {"errors": 0.9}
        led(own, own.governance.rollouts.start(OPS, bad, quick).id)
        led(own, roll_out(own, quick, "blue-green"))
        stories.append([tuple(str(part).replace(own.model, "m") for part in row) for row in told(own)])
        database.dispose()
    assert stories[0] == stories[1]
    assert len(stories[0]) > 8


def _killed_at(kit: Kit, make_kit: MakeKit, options: ClusterServing, rollout_id: str, effect: int) -> bool:
    child = os.fork()
    if child == 0:
        database = open_database(str(kit.database.engine.url))  # connections are not shared over a fork
        own = make_kit(database)
        own.model, own.source.bad = kit.model, kit.source.bad
        seen = [0]

        def count(*_: object) -> None:
            seen[0] += 1
            if seen[0] == effect:
                os.kill(os.getpid(), signal.SIGKILL)

        engine_event.listen(database.engine, "commit", count)
        request = Connection.request

        def counted(self: Connection, method: str, *arguments: object, **named: object) -> object:
            answer = request(self, method, *arguments, **named)  # type: ignore[arg-type]
            if method != "GET":
                count()
            return answer

        Connection.request = counted  # type: ignore[method-assign]
        try:
            on_cluster(own, options)
            own.governance.rollouts.run(rollout_id, Event())
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _events(kit: Kit, after: int = 0) -> list[Logged]:
    with kit.database.read() as connection:
        return list(events(connection, after=after))


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
