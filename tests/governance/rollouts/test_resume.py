"""A controller killed with SIGKILL at any of its effects: another goes on, and the rollout ends as if nothing had been."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from threading import Event

import pytest
from sqlalchemy import event as engine_event

from maestro.clients.database import open_database
from maestro.clients.database.outbox import events
from maestro.core.events import projection
from maestro.core.policy import RolloutPolicy, Rung
from maestro.governance.decisions import replay_all
from maestro.governance.production import production_node
from maestro.governance.rollouts import RolloutStatus, Step
from tests.governance.conftest import OPS, Kit

MakeKit = Callable[..., Kit]


@pytest.fixture
def quick(policy: RolloutPolicy) -> RolloutPolicy:
    """A policy that a few seconds of traffic decide."""
    metrics = tuple(metric.model_copy(update={"margin": 0.3, "tolerate": 0.2}) for metric in policy.metrics)
    rungs = (Rung(weight=50), Rung(weight=100, bake=timedelta(seconds=1)))
    return policy.model_copy(update={"metrics": metrics, "rungs": rungs})


def _killed_at(kit: Kit, make_kit: MakeKit, rollout_id: str, effect: int) -> bool:
    """Lead the rollout in a child that kills itself at its n-th effect: before a commit, or after a graph was written."""
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
        target = own.governance.targets(kit.model)
        write = target.write

        def write_then_count(*arguments: object, **named: object) -> None:
            write(*arguments, **named)  # type: ignore[arg-type]
            count()

        target.write = write_then_count  # type: ignore[method-assign]
        try:
            own.governance.rollouts.run(rollout_id, Event())
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.shows("F7", "H9", env="laptop")
def test_killed_at_each_effect(make_kit: MakeKit, kit: Kit, quick: RolloutPolicy) -> None:
    kit.champion(quick)
    expected: list[tuple[object, ...]] | None = None
    effect, killed = 0, True
    while killed:
        version = kit.register(f1=0.8)
        kit.approved(version, quick)
        with kit.database.read() as connection:
            last = max(item.seq for item in events(connection))
        rollout = kit.governance.rollouts.start(OPS, version, quick)
        effect += 1
        killed = _killed_at(kit, make_kit, rollout.id, effect)
        kit.clock.sleep(60)  # the dead controller's lease ends
        kit.source.counters.clear()  # the readings of the child's process are gone with it: a restarted server
        kit.source.epoch = f"after-{effect}"
        if killed:
            kit.governance.rollouts.run(rollout.id, Event())
        ended = kit.governance.rollout_store.get(rollout.id)
        assert (ended.status, ended.step) == (RolloutStatus.PROMOTED, Step.DONE), (effect, ended)
        graph = kit.targets[kit.model].read()
        assert graph is not None
        node = production_node(graph)
        assert node is not None
        assert node.version == version.version
        assert kit.store.registry.aliases(kit.model)["production"] == version.registry_version
        with kit.database.read() as connection:
            told = events(connection, after=last)
        rows = [row for row in projection(told) if row[0] != "rollout.judged"]
        moves = [
            (row[0], row[2], row[3]) for row in rows if row[0] != "rollout.finished" and row[0] != "rollout.started"
        ]
        expected = expected or [*moves]
        assert moves == expected, effect
    assert effect > 12
    reports = replay_all(kit.governance.decisions, kit.governance.replayers)
    assert all(report.ok for report in reports), [report for report in reports if not report.ok]
