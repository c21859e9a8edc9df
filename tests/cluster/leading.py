"""Rollouts on a cluster, as tests of the control code start, lead and read them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from threading import Event, Timer

import pytest

from maestro.clients.database import Database
from maestro.clients.database.outbox import events
from maestro.clients.kubernetes.connection import Connection
from maestro.clients.kubernetes.objects import Cluster
from maestro.core.cluster import ClusterServing
from maestro.core.events import Event as Logged
from maestro.core.events import projection
from maestro.core.policy import RolloutPolicy, Rung
from maestro.governance.rollouts import RolloutStatus, Step
from maestro.serving.targets import KubernetesTarget, kubernetes_target
from tests.cluster import stage
from tests.governance.conftest import OPS, Kit

LED_S = 180.0
"""More than a rollout of these tests takes, and less than they may take."""

MakeKit = Callable[[Database], Kit]

CASES = [
    ("canary", "httproute"),
    ("shadow", "httproute"),
    ("blue-green", "selector"),
    ("blue-green", "httproute"),
    ("rolling", "rolling"),
    ("rolling", "httproute"),
]
"""Each strategy with each way of moving traffic that can carry it."""


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
    """Lead a rollout to its end; what it waits for is said, where it would wait for ever."""
    stop = Event()
    timer = Timer(LED_S, stop.set)
    timer.start()
    ended = kit.governance.rollouts.run(rollout_id, stop)
    timer.cancel()
    assert ended is not None
    assert not stop.is_set(), (ended.step, ended.weight, ended.state.outcome, ended.state.reason)
    return ended.status


def told(kit: Kit, after: int = 0) -> list[tuple[object, ...]]:
    with kit.database.read() as connection:
        return [tuple(row) for row in projection(events(connection, after=after))]


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


def logged(kit: Kit, after: int = 0) -> list[Logged]:
    """The whole event log."""
    with kit.database.read() as connection:
        return list(events(connection, after=after))
