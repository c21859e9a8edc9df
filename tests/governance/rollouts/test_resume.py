"""A controller killed with SIGKILL at any of its effects: another goes on, and the rollout ends as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import Event

import pytest

from maestro.clients.database.outbox import events
from maestro.core.events import projection
from maestro.core.policy import RolloutPolicy, Rung
from maestro.governance.decisions import replay_all
from maestro.governance.production import production_node
from maestro.governance.rollouts import RolloutStatus, Step
from tests.governance.conftest import OPS, Kit
from tests.governance.rollouts.killing import MakeKit, killed_at


@pytest.fixture
def quick(policy: RolloutPolicy) -> RolloutPolicy:
    """A policy that a few seconds of traffic decide."""
    metrics = tuple(metric.model_copy(update={"margin": 0.3, "tolerate": 0.2}) for metric in policy.metrics)
    rungs = (Rung(weight=50), Rung(weight=100, bake=timedelta(seconds=1)))
    return policy.model_copy(update={"metrics": metrics, "rungs": rungs})


def _count_writes(own: Kit, count: Callable[..., None]) -> None:
    """A graph that was written is an effect."""
    target = own.governance.targets(own.model)
    write = target.write

    def write_then_count(*arguments: object, **named: object) -> None:
        write(*arguments, **named)  # type: ignore[arg-type]
        count()

    target.write = write_then_count  # type: ignore[method-assign]


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
        killed = killed_at(kit, make_kit, rollout.id, effect, _count_writes)
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
