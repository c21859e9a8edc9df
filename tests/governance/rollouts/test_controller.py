"""Rollouts over real files, statements and databases; readings drawn from the weights of the graph in force."""

from __future__ import annotations

from threading import Event

import pytest
import yaml
from sqlalchemy import select

from maestro.clients.database.schema.core import outbox
from maestro.core.decision import Verdict
from maestro.core.errors import BadInput, Conflict, Refused, Unreachable
from maestro.core.graph import InferenceGraph, ModelNode, SplitNode
from maestro.core.policy import RolloutPolicy
from maestro.governance.decisions import replay_all
from maestro.governance.production import production_node
from maestro.governance.rollouts import Rollout, RolloutStatus, Step
from maestro.governance.versions import ModelVersion, Stage
from maestro.security.statements import read_envelopes
from tests.governance.conftest import ADA, OPS, Kit, contract


def _challenger(kit: Kit, policy: RolloutPolicy) -> ModelVersion:
    version = kit.register(f1=0.81)
    kit.approved(version, policy)
    return version


def _run(kit: Kit, rollout: Rollout) -> Rollout:
    ended = kit.governance.rollouts.run(rollout.id, Event())
    assert ended is not None
    return ended


def _graph(kit: Kit) -> InferenceGraph:
    graph = kit.targets[kit.model].read()
    assert graph is not None
    return graph


def _served(kit: Kit) -> str:
    node = production_node(_graph(kit))
    assert node is not None
    return node.version


def _weights(kit: Kit) -> list[tuple[float, float]]:
    with kit.database.read() as connection:
        rows = connection.execute(
            select(outbox.c.data).where(outbox.c.kind == "rollout.moved").order_by(outbox.c.seq)
        ).scalars()
        return [(row["from"], row["to"]) for row in rows]


@pytest.mark.shows("D8", "E6", "E7", "F2", "F3", "H9", env="laptop")
def test_a_good_version_climbs_the_ladder_and_is_promoted(kit_on_each: Kit, policy: RolloutPolicy) -> None:
    kit = kit_on_each
    first = kit.champion(policy)
    version = _challenger(kit, policy)
    rollout = kit.governance.rollouts.start(OPS, version, policy)
    assert rollout.strategy == "canary"
    ended = _run(kit, rollout)
    assert (ended.status, ended.step, ended.weight) == (RolloutStatus.PROMOTED, Step.DONE, 100.0)
    assert _weights(kit)[1:] == [(1.0, 10), (10.0, 50), (50.0, 100), (100.0, 100.0)]
    graph = _graph(kit)
    assert isinstance(graph.nodes[graph.root], ModelNode)
    assert _served(kit) == version.version
    assert kit.governance.versions.get(kit.model, version.version).stage is Stage.PRODUCTION
    assert kit.governance.versions.get(kit.model, first.version).stage is Stage.ARCHIVED
    aliases = kit.store.registry.aliases(kit.model)
    assert aliases["production"] == aliases["champion"] == version.registry_version
    assert set(read_envelopes(kit.home.version(kit.model, version.version))) == {
        "provenance.json", "promotion.json", "rollout-authorisation.json",
    }  # fmt: skip
    reports = replay_all(kit.governance.decisions, kit.governance.replayers)
    assert len(reports) > 20
    assert all(report.ok for report in reports), [report for report in reports if not report.ok]
    costs = [record.cost_usd_micros for record in kit.governance.decisions.of_rollout(rollout.id)]
    assert costs == sorted(costs)
    assert costs[0] >= version.cost_usd_micros == 1000


@pytest.mark.shows("F4", "H9", env="laptop")
@pytest.mark.parametrize(
    ("bad", "metric"), [({"errors": 0.2}, "errors"), ({"slow": 0.6}, "slow"), ({"quality": 0.6}, "quality")]
)
def test_a_bad_version_is_rolled_back_on_evidence(
    kit: Kit, policy: RolloutPolicy, bad: dict[str, float], metric: str
) -> None:
    first = kit.champion(policy)
    version = _challenger(kit, policy)
    kit.source.bad[version.version] = bad
    ended = _run(kit, kit.governance.rollouts.start(OPS, version, policy))
    assert ended.status is RolloutStatus.ROLLED_BACK
    assert ended.state.reason.startswith(f"{metric}: the challenger's rate is higher by at least")
    assert _served(kit) == first.version
    assert "promotion.json" not in read_envelopes(kit.home.version(kit.model, version.version))
    assert kit.store.registry.aliases(kit.model)["production"] == first.registry_version


def test_a_first_version_needs_approval_and_statement_too(kit: Kit, policy: RolloutPolicy) -> None:
    version = kit.register(f1=0.8)
    with pytest.raises(Refused, match="approvals: 0 of 1"):
        kit.governance.rollouts.start(OPS, version, policy)
    with pytest.raises(Conflict, match="serves no version"):
        kit.governance.rollouts.start(OPS, version, policy, "canary")
    kit.approved(version, policy)
    ended = _run(kit, kit.governance.rollouts.start(OPS, version, policy))
    assert (ended.strategy, ended.status, _served(kit)) == ("first", RolloutStatus.PROMOTED, version.version)


@pytest.mark.parametrize("name", ["blue-green", "rolling"])
def test_a_switch_is_made_when_the_challenger_is_ready(kit: Kit, policy: RolloutPolicy, name: str) -> None:
    first = kit.champion(policy)
    version = _challenger(kit, policy)
    started = kit.governance.rollouts.start(OPS, version, policy, name)
    kit.targets[kit.model].refusal = Refused("it does not load")
    ended = _run(kit, started)
    assert (ended.status, _served(kit)) == (RolloutStatus.FAILED, first.version)  # the champion was refused as well
    kit.targets[kit.model].refusal = None
    ended = _run(kit, kit.governance.rollouts.start(OPS, version, policy, name))
    assert (ended.status, _served(kit)) == (RolloutStatus.PROMOTED, version.version)
    assert all(report.ok for report in replay_all(kit.governance.decisions, kit.governance.replayers))


def test_what_may_not_be_started(kit: Kit, policy: RolloutPolicy) -> None:
    first = kit.champion(policy)
    version = _challenger(kit, policy)
    controller = kit.governance.rollouts
    with pytest.raises(Refused, match="operator"):
        controller.start(ADA, version, policy)
    with pytest.raises(BadInput, match="not known") as unknown:
        controller.start(OPS, version, policy, "big-bang")
    assert "canary, blue_green, rolling, shadow, first" in unknown.value.remedy
    with pytest.raises(Conflict, match="in production"):
        controller.start(OPS, first, policy)
    slow = policy.metrics[1].model_copy(update={"bad": "latency > 0.3s"})
    with pytest.raises(BadInput, match="not counted"):
        controller.start(OPS, version, policy.model_copy(update={"metrics": (slow,)}))
    with pytest.raises(Conflict, match="callers"):
        controller.start(OPS, kit.register(agreed=contract("x"), f1=0.9), policy)
    controller.start(OPS, version, policy)
    with pytest.raises(Conflict, match="is running"):
        controller.start(OPS, version, policy)


def test_a_dead_source_freezes_and_the_rollout_goes_on_when_it_is_back(kit: Kit, policy: RolloutPolicy) -> None:
    kit.champion(policy)
    rollout = kit.governance.rollouts.start(OPS, _challenger(kit, policy), policy)
    rollout = _until(kit, rollout, Step.WATCH)
    kit.source.down = True
    rollout = _steps(kit, rollout, 2)
    assert rollout.status is RolloutStatus.FROZEN
    assert rollout.state.reason.startswith("source")
    kit.source.down = False
    kit.source.restart()
    assert _run(kit, rollout).status is RolloutStatus.PROMOTED


def test_no_traffic_never_promotes(kit: Kit, policy: RolloutPolicy) -> None:
    kit.champion(policy)
    rollout = kit.governance.rollouts.start(OPS, _challenger(kit, policy), policy)
    kit.source.rate = 0
    ended = _run(kit, rollout)
    assert ended.status is RolloutStatus.UNDECIDED


@pytest.mark.shows("H9", env="laptop")
def test_a_foreign_edit_freezes_until_a_person_says_so(kit: Kit, policy: RolloutPolicy) -> None:
    first = kit.champion(policy)
    version = _challenger(kit, policy)
    rollout = _until(kit, kit.governance.rollouts.start(OPS, version, policy), Step.WATCH)
    rollout = _steps(kit, rollout, 3)
    path = kit.home.graph(kit.model)
    document = yaml.safe_load(path.read_text())
    document["metadata"]["revision"] += 1
    document["nodes"]["split"]["arms"][1]["weight"], document["nodes"]["split"]["arms"][0]["weight"] = 5000, 5000
    path.write_text(yaml.safe_dump(document))
    frozen = _run(kit, rollout)
    assert (frozen.status, frozen.state.held) == (RolloutStatus.FROZEN, True)
    split = _graph(kit).nodes["split"]
    assert isinstance(split, SplitNode)
    assert split.arms[1].weight == 5000  # honoured
    human = kit.governance.decisions.list(kind="human")[0][0]
    assert (human.actor, human.verdict) == ("human", Verdict.FREEZE)
    assert _run(kit, frozen).state.held  # nothing moves by itself
    resumed = kit.governance.rollouts.resume(OPS, rollout.id)
    assert resumed.step is Step.PLACE
    assert _run(kit, resumed).status is RolloutStatus.PROMOTED
    assert all(report.ok for report in replay_all(kit.governance.decisions, kit.governance.replayers))
    assert first.version != _served(kit)


def test_abort_goes_back_to_the_champion(kit: Kit, policy: RolloutPolicy) -> None:
    first = kit.champion(policy)
    rollout = _until(kit, kit.governance.rollouts.start(OPS, _challenger(kit, policy), policy), Step.WATCH)
    aborted = kit.governance.rollouts.abort(OPS, rollout.id, "too risky today")
    ended = _run(kit, aborted)
    assert (ended.status, ended.state.reason, _served(kit)) == (
        RolloutStatus.ROLLED_BACK, "too risky today", first.version,
    )  # fmt: skip
    with pytest.raises(Conflict, match="has ended"):
        kit.governance.rollouts.abort(OPS, rollout.id)


def test_one_controller_leads_and_a_stale_one_is_fenced(kit_on_each: Kit, policy: RolloutPolicy) -> None:
    from maestro.core.errors import Fenced

    kit = kit_on_each
    kit.champion(policy)
    rollout = kit.governance.rollouts.start(OPS, _challenger(kit, policy), policy)
    fence = kit.governance.rollout_store.acquire(rollout.id)
    assert fence is not None
    assert kit.governance.rollouts.run(rollout.id, Event()) is None
    kit.clock.sleep(16)
    later = kit.governance.rollout_store.acquire(rollout.id)
    assert later == fence + 1
    with pytest.raises(Fenced):
        kit.governance.rollout_store.renew(rollout.id, fence)


def test_an_alias_that_cannot_be_moved_does_not_hold_up_traffic(kit: Kit, policy: RolloutPolicy) -> None:
    first = kit.champion(policy)
    version = _challenger(kit, policy)
    rollout = kit.governance.rollouts.start(OPS, version, policy, "blue_green")
    rollout = _until(kit, rollout, Step.RECORD_PROMOTION)
    assert (rollout.status, _served(kit)) == (RolloutStatus.PROMOTED, version.version)
    assert kit.store.registry.aliases(kit.model)["production"] == first.registry_version
    url, kit.governance.registry.uri = kit.governance.registry.uri, "http://127.0.0.1:9"
    kit.governance.registry.__dict__.pop("_client", None)
    rollout = _steps(kit, rollout, 1)
    assert rollout.step is Step.RECORD_PROMOTION
    kit.governance.registry.uri = url
    kit.governance.registry.__dict__.pop("_client", None)
    assert _run(kit, rollout).step is Step.DONE
    assert kit.store.registry.aliases(kit.model)["production"] == version.registry_version


def test_a_target_that_is_away_is_tried_again(kit: Kit, policy: RolloutPolicy) -> None:
    kit.champion(policy)
    rollout = kit.governance.rollouts.start(OPS, _challenger(kit, policy), policy)
    kit.targets[kit.model].refusal = Unreachable("the server does not answer")
    rollout = _until(kit, rollout, Step.READY)
    rollout = _steps(kit, rollout, 2)
    assert (rollout.step, rollout.state.failures) == (Step.READY, 2)
    kit.targets[kit.model].refusal = None
    assert _run(kit, rollout).status is RolloutStatus.PROMOTED


def _until(kit: Kit, rollout: Rollout, step: Step) -> Rollout:
    for _ in range(200):
        if rollout.step is step:
            return rollout
        rollout = _steps(kit, rollout, 1)
    raise AssertionError(f"{step} was never reached, but {rollout.step}")


def _steps(kit: Kit, rollout: Rollout, count: int) -> Rollout:
    fence = kit.governance.rollout_store.acquire(rollout.id)
    assert fence is not None
    for _ in range(count):
        rollout = kit.governance.rollouts._transitions.advance(rollout, fence)
        kit.clock.sleep(1)
    kit.governance.rollout_store.let_go(rollout.id, fence)
    return rollout
