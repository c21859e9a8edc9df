"""Instant rollback with everything but files gone; and what finds foreign graphs and aliases afterwards."""

from __future__ import annotations

from threading import Event

import pytest
import yaml
from sqlalchemy import select

from maestro.clients.database.schema.core import outbox
from maestro.core.errors import Conflict, NotFound, Refused, Untrusted
from maestro.core.policy import RolloutPolicy
from maestro.core.seams import Alert
from maestro.governance.alias_watch import KIND, AliasWatch
from maestro.governance.decisions import replay_all
from maestro.governance.rollouts import instant_rollback
from maestro.governance.rollouts.rollback import RolledBack
from maestro.governance.versions import ModelVersion
from maestro.security.trust import load_trust
from tests.governance.conftest import ADA, OPS, Kit


@pytest.fixture
def two(kit: Kit, policy: RolloutPolicy) -> tuple[Kit, ModelVersion, ModelVersion]:
    """A model whose second version replaced the first."""
    first = kit.champion(policy)
    second = kit.register(f1=0.82)
    kit.approved(second, policy)
    rollout = kit.governance.rollouts.start(OPS, second, policy, "blue_green")
    ended = kit.governance.rollouts.run(rollout.id, Event())
    assert ended is not None
    assert ended.status.value == "promoted"
    return kit, first, second


def _roll_back(kit: Kit, to: str | None = None) -> RolledBack:
    return instant_rollback(
        kit.targets[kit.model],
        kit.home.versions,
        load_trust(kit.home.trust_policy),
        kit.model,
        principal=OPS,
        at=kit.clock.now(),
        to=to,
    )


@pytest.mark.shows("D9", "F10", env="laptop")
def test_rolling_back_needs_files_only(two: tuple[Kit, ModelVersion, ModelVersion]) -> None:
    kit, first, second = two
    kit.database.dispose()
    kit.home.root.parent.joinpath("maestro.db").unlink()  # no database, and no MLflow is asked
    kit.clock.sleep(1)
    done = _roll_back(kit)
    assert (done.from_version, done.to_version) == (second.version, first.version)
    graph = kit.targets[kit.model].read()
    assert graph is not None
    assert [node.version for node in graph.models().values()] == [first.version]
    with pytest.raises(Conflict, match="all the traffic"):
        _roll_back(kit, first.version)
    assert _roll_back(kit, second.version).to_version == second.version


def test_only_a_promoted_version_is_rolled_back_to(two: tuple[Kit, ModelVersion, ModelVersion]) -> None:
    kit, first, _ = two
    third = kit.register(f1=0.9)
    with pytest.raises(Untrusted, match="promotion"):
        _roll_back(kit, third.version)
    with pytest.raises(Refused, match="operator"):
        instant_rollback(
            kit.targets[kit.model], kit.home.versions, load_trust(kit.home.trust_policy), kit.model,
            principal=ADA, at=kit.clock.now(),
        )  # fmt: skip
    assert [item.version for item in kit.governance.stages.rollback_list(kit.model)][-1] == first.version
    with pytest.raises(NotFound, match="no graph"):
        instant_rollback(
            kit.governance.targets("other"), kit.home.versions, load_trust(kit.home.trust_policy), "other",
            principal=OPS, at=kit.clock.now(),
        )  # fmt: skip


def test_a_rollback_in_a_canary_goes_to_its_champion(
    two: tuple[Kit, ModelVersion, ModelVersion], policy: RolloutPolicy
) -> None:
    kit, _, second = two
    third = kit.register(f1=0.83)
    kit.approved(third, policy)
    rollout = kit.governance.rollouts.start(OPS, third, policy)
    fence = kit.governance.rollout_store.acquire(rollout.id)
    assert fence is not None
    for _ in range(5):
        rollout = kit.governance.rollouts._transitions.advance(rollout, fence)
    kit.governance.rollout_store.let_go(rollout.id, fence)
    assert _roll_back(kit).to_version == second.version
    frozen = kit.governance.rollouts.run(rollout.id, Event())
    assert frozen is not None
    assert frozen.state.held


def test_the_graph_watch_records_what_nobody_else_did(two: tuple[Kit, ModelVersion, ModelVersion]) -> None:
    kit, first, _ = two
    watch = kit.governance.graph_watch
    assert watch.check() == watch.check() == []
    _roll_back(kit)
    assert watch.check() == []  # one of ours may not be on record yet
    recorded = watch.check()
    assert [(record.kind, record.actor, record.subject.version) for record in recorded] == [
        ("human", "human", first.version)
    ]
    assert watch.check() == watch.check() == []
    path = kit.home.graph(kit.model)
    document = yaml.safe_load(path.read_text())
    document["nodes"]["champion"]["timeout_ms"] = 77
    path.write_text(yaml.safe_dump(document))
    watch.check()
    assert len(watch.check()) == 1
    assert all(report.ok for report in replay_all(kit.governance.decisions, kit.governance.replayers))


class _Told:
    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def notify(self, alert: Alert) -> bool:
        """Keep it."""
        self.alerts.append(alert)
        return True


@pytest.mark.shows("D8", env="laptop")
def test_an_alias_moved_by_hand_changes_no_traffic_and_alerts_once(two: tuple[Kit, ModelVersion, ModelVersion]) -> None:
    kit, first, second = two
    told = _Told()
    watch = AliasWatch(kit.database, kit.clock, kit.governance.audit, kit.governance.registry, told)
    target = kit.targets[kit.model]
    before = target.read()
    assert watch.check(kit.model, target) == []
    assert first.registry_version is not None
    kit.store.tracking.client.set_registered_model_alias(kit.model, "production", first.registry_version)
    found = watch.check(kit.model, target)
    assert [(item.alias, item.alias_version, item.served_version) for item in found] == [
        ("production", first.version, second.version)
    ]
    watch.check(kit.model, target)
    assert [alert.severity for alert in told.alerts] == ["warning"]
    assert target.read() == before
    with kit.database.read() as connection:
        assert len(connection.execute(select(outbox.c.seq).where(outbox.c.kind == KIND)).all()) == 1
