"""A bandit node through the door: sticky on a snapshot, exactly what the policy says, logged so that it replays, rewarded later."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from maestro.clients.bandit_snapshots import BanditSummary, SnapshotStore
from maestro.core.graph import BanditNode
from maestro.core.principals import PrincipalRole
from maestro.decisions.bandits import Decider, create_policy
from maestro.decisions.bandits.first import first_snapshot
from maestro.serving.policies import LOOK_S
from tests.serving.conftest import ENTITY, Client, Serve, Trained, Workshop, eventually, node

ROW = [12.0, 15.0, 80.0, 500.0]


def bandit(policy: str = "thompson", **fields: Any) -> dict[str, Any]:
    return {"type": "bandit", "policy": policy, "experiment": "spring", "key": ENTITY, "arms": ["a", "b"]} | fields


@pytest.fixture
def versions(workshop: Workshop, trained: Trained) -> dict[str, Any]:
    return {
        name: node(workshop.register(version, {"model.onnx": trained.onnx}, trained.contract))
        for name, version in (("a", "1.0.0"), ("b", "1.1.0"))
    }


def ask(client: Client, unit: int | None, row: list[float] | None = None) -> Any:
    context = {} if unit is None else {"context": {ENTITY: unit}}
    response = client.post("/predict", json={"instances": [row or ROW]} | context)
    assert response.status_code == 200, response.text
    return response


def taken_by_b(client: Client, units: range) -> int:
    return sum(ask(client, unit).headers["x-maestro-arm"] == "b" for unit in units)


def logged(client: Client, workshop: Workshop) -> list[dict[str, Any]]:
    client.server.exposures.flush()
    rows: list[dict[str, Any]] = []
    for path in sorted((workshop.home.exposures / "m" / "spring").glob("*.parquet")):
        rows += pq.read_table(path).to_pylist()
    return rows


def publish(workshop: Workshop, rewards: dict[str, tuple[int, float]], policy: str = "thompson") -> None:
    """What the control plane does: a snapshot that has learnt, and its summary."""
    store = SnapshotStore(workshop.home.graphs, "m", "spring")
    first = first_snapshot(BanditNode.model_validate(bandit(policy)), None)
    names = list(first.names)
    arm = np.concatenate([np.full(count, names.index(name)) for name, (count, _) in rewards.items()])
    value = np.concatenate([np.full(count, mean) for count, mean in rewards.values()])
    snapshot = create_policy(policy).learn(first, arm, value)
    summary = BanditSummary(
        model="m",
        experiment="spring",
        at=datetime.now(UTC),
        snapshot=snapshot.content_digest(),
        arms=(),
        regret=2.5,
        exploration_rate=0.25,
    )
    store.publish(snapshot, summary)


@pytest.mark.door
@pytest.mark.shows("H5", "H11", "G16", env="laptop")
def test_thompson_is_sticky_follows_its_snapshot_and_its_log_replays(
    workshop: Workshop, versions: dict[str, Any], serve: Serve
) -> None:
    workshop.graph(versions | {"ab": bandit()}, "ab")
    client = serve()
    arms = {unit: ask(client, unit).headers["x-maestro-arm"] for unit in range(60)}
    assert {ask(client, unit).headers["x-maestro-arm"] == arms[unit] for unit in range(60)} == {True}
    assert 15 < sum(arm == "a" for arm in arms.values()) < 45, "nothing is known: either arm"
    rows = logged(client, workshop)
    assert len(rows) == 60
    decider = Decider(create_policy("thompson"), first_snapshot(BanditNode.model_validate(bandit()), None))
    assert {row["snapshot"] for row in rows} == {decider.digest}
    for row in rows:
        assert decider.one(row["unit"])[:2] == (row["arm"], row["propensity"])

    publish(workshop, {"a": (200, 0.1), "b": (200, 0.9)})
    eventually(lambda: taken_by_b(client, range(1000, 1040)) > 33)
    newer = [row for row in logged(client, workshop) if row["snapshot"] != decider.digest]
    assert newer
    assert {row["propensity"] for row in newer} <= {0.99, 0.01}
    shown = client.get("/metrics").text
    assert 'maestro_bandit_regret{experiment="spring",model="m"} 2.5' in shown
    assert 'maestro_bandit_exploration_rate{experiment="spring",model="m"} 0.25' in shown


@pytest.mark.door
@pytest.mark.shows("H5", "H12", env="laptop")
def test_linucb_acts_on_the_context_and_logs_it(
    workshop: Workshop, versions: dict[str, Any], serve: Serve, trained: Trained
) -> None:
    workshop.graph(versions | {"ab": bandit("linucb", epsilon=0.1)}, "ab")
    client = serve()
    for unit in range(30):
        ask(client, unit, trained.rows[unit].tolist())
    rows = logged(client, workshop)
    described = BanditNode.model_validate(bandit("linucb", epsilon=0.1))
    decider = Decider(create_policy("linucb"), first_snapshot(described, trained.contract))
    contexts = np.array([row["context"] for row in rows])
    assert contexts.shape == (30, 4)
    decided = decider.many([row["unit"] for row in rows], contexts)
    assert [decider.names[arm] for arm in decided.arm] == [row["arm"] for row in rows]
    assert decided.propensity.tolist() == [row["propensity"] for row in rows]


@pytest.mark.door
@pytest.mark.shows("H5", env="laptop")
def test_without_a_key_every_request_is_a_unit_and_rows_about_several_go_their_own_ways(
    workshop: Workshop, versions: dict[str, Any], serve: Serve, trained: Trained
) -> None:
    workshop.graph(versions | {"ab": bandit("epsilon_greedy", epsilon=0.3)}, "ab")
    client = serve()
    seen = {ask(client, None).headers["x-maestro-arm"] for _ in range(40)}
    assert seen == {"a", "b"}
    assert len({row["unit"] for row in logged(client, workshop)}) == 40
    rows = trained.rows[:20]
    response = client.post(
        "/predict", json={"instances": rows.tolist(), "entities": [{ENTITY: unit} for unit in range(20)]}
    )
    assert response.json()["predictions"] == trained.answers[:20], "each row's answer in its own place"
    assert response.headers["x-maestro-arm"] in ("a,b", "b,a")


def test_an_arm_that_fails_is_answered_by_the_fallback_and_logged_as_an_error(
    workshop: Workshop, versions: dict[str, Any], serve: Serve
) -> None:
    dead = {"type": "remote", "url": "http://127.0.0.1:9/v2/models/m", "timeout_ms": 200}
    workshop.graph(versions | {"r": dead, "ar": bandit(arms=["a", "r"], fallback="b")}, "ar")
    client = serve()
    answers = [ask(client, unit) for unit in range(30)]
    stood_in = [each for each in answers if each.headers["x-maestro-arm"] == "r"]
    assert stood_in
    assert {each.headers["x-maestro-fallback"] for each in stood_in} == {"b"}
    assert {(row["arm"], row["error"]) for row in logged(client, workshop)} == {("a", False), ("r", True)}


@pytest.mark.door
@pytest.mark.shows("H13", env="laptop")
def test_rewards_need_a_role_and_are_durable_when_they_are_acknowledged(
    workshop: Workshop, versions: dict[str, Any], serve: Serve
) -> None:
    workshop.graph(versions | {"ab": bandit()}, "ab")
    client = serve()
    answer = ask(client, 1)
    (row,) = logged(client, workshop)
    assert answer.headers["x-maestro-reward-id"] == row["reward_id"]
    sent = [
        {"model": "m", "reward_id": row["reward_id"], "reward": 1.0, "at": "2026-01-01T00:00:00Z"},
        {"model": "m", "experiment": "spring", "unit": 1, "reward": 0.5, "at": "2026-01-01T00:00:00Z"},
    ]
    assert client.post("/rewards", json=sent).status_code == 401
    headers = {"authorization": f"Bearer {workshop.key(PrincipalRole.VIEWER, name='viewer')}"}
    assert client.post("/rewards", json=sent, headers=headers).status_code == 403
    headers = {"authorization": f"Bearer {workshop.key(PrincipalRole.SUBMITTER, name='submitter')}"}
    accepted = client.post("/rewards", json=sent, headers=headers)
    assert (accepted.status_code, accepted.json()) == (200, {"accepted": 2})
    lines = (workshop.home.exposures / "m" / "rewards.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"r": 1.0, "t": "2026-01-01T00:00:00.000Z", "i": row["reward_id"]}
    assert json.loads(lines[1])["u"] == [row["unit"]]
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({"reward": 1.5}, 422, "none that 'spring' can learn from"),
        ({"reward_id": "autumn:u:1.0.0:1"}, 404, "no experiment 'autumn'"),
        ({"reward_id": "spring"}, 422, "is no reward id"),
        ({"model": "n"}, 404, "no model 'n' is served here"),
        ({"unit": 2}, 422, "send either reward_id, or experiment and unit"),
        ({"extra": 2}, 422, "extra"),
    ]
    for change, status, said in wrong:
        response = client.post("/rewards", json=[sent[0] | change], headers=headers)
        assert response.status_code == status, response.text
        assert said in response.text
    assert len((workshop.home.exposures / "m" / "rewards.jsonl").read_text().splitlines()) == 2


def test_a_snapshot_of_another_bandit_or_a_torn_one_is_not_followed(
    workshop: Workshop, versions: dict[str, Any], serve: Serve
) -> None:
    workshop.graph(versions | {"ab": bandit()}, "ab")
    client = serve()
    store = SnapshotStore(workshop.home.graphs, "m", "spring")
    publish(workshop, {"a": (100, 0.0), "b": (100, 1.0)})
    eventually(lambda: taken_by_b(client, range(100, 140)) > 33)
    document = json.loads(store.current_path.read_text())
    for text in ("{", json.dumps(document | {"number": 9, "epsilon": 0.5})):
        store.current_path.write_text(text)
        time.sleep(2 * LOOK_S)
        assert taken_by_b(client, range(100, 140)) > 33, "what was there before stays"


def test_a_bandit_whose_settings_cannot_be_is_refused_and_the_old_graph_stays(
    workshop: Workshop, versions: dict[str, Any], serve: Serve
) -> None:
    workshop.graph(versions, "a")
    client = serve()
    workshop.graph(versions | {"ab": bandit(epsilon=0.6)}, "ab", revision=2)
    eventually(lambda: client.get("/healthz").json()["refused"] == ["m"])
    refusal = client.server.follower.refusals["m"].error
    assert "2 arms of at least 0.6" in refusal.detail or "less than or equal" in refusal.detail
    assert ask(client, 1).headers["x-maestro-version"] == "1.0.0"
