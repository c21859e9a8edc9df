"""`maestro bandits` and `maestro ab off-policy` on the log of a bandit whose truth is known."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from maestro.ab_testing.exposures import write_exposures
from maestro.ab_testing.learning import BanditLog
from maestro.cli.ab import app as ab
from maestro.cli.bandits import app
from maestro.cli.console import invoke
from maestro.clients.home import Home
from maestro.core.canonical import canonical_bytes
from maestro.core.contract import Feature, ModelContract, Output
from maestro.core.exposure import reward_id_of
from maestro.decisions.bandits import Decider, create_policy

START = datetime(2026, 1, 1, tzinfo=UTC)
CHANCES = np.array([0.3, 0.6])


class Served:
    """A graph with a bandit, and a server that decides on whatever snapshot lies there."""

    def __init__(self, home: Path, policy: str = "thompson") -> None:
        self.home = Home(home)
        self.rng = np.random.default_rng(7)
        self.served = 0
        contract = ModelContract.build((Feature(name="x", min=-1.0, max=1.0),), Output(kind="regression"))
        nodes: dict[str, Any] = {
            "ab": {"type": "bandit", "policy": policy, "experiment": "spring", "arms": ["a", "b"], "epsilon": 0.05}
        }
        for name, version in (("a", "1.0.0"), ("b", "1.1.0")):
            nodes[name] = {"type": "model", "model": "m", "version": version, "digest": "sha256:" + "0" * 64}
            files = self.home.version("m", version) / "files"
            files.mkdir(parents=True)
            (files / "contract.json").write_bytes(canonical_bytes(contract.document()))
        self.home.graphs.mkdir(parents=True)
        document = {"metadata": {"name": "m", "revision": 1}, "root": "ab", "nodes": nodes}
        self.home.graph("m").write_text(yaml.safe_dump(document))

    @property
    def exposures(self) -> Path:
        return self.home.exposures / "m" / "spring"

    def serve(self, requests: int, rewarded: float = 1.0) -> None:
        """Decide, log, and send rewards for a share of them."""
        log = BanditLog(self.home, "m")
        decider = Decider(create_policy(log.node.policy), log.store.current() or log.first)
        names = [f"request-{self.served + i:06d}" for i in range(requests)]
        context = self.rng.uniform(-1, 1, (requests, 1))
        decided = decider.many(names, context if decider.contextual else None)
        versions = ["1.0.0" if arm == 0 else "1.1.0" for arm in decided.arm]
        ids = [reward_id_of("spring", name, version, 1) for name, version in zip(names, versions, strict=True)]
        self.exposures.mkdir(parents=True, exist_ok=True)
        write_exposures(
            self.exposures / f"r00000001-{self.served:06d}.parquet",
            {
                "at": [START + timedelta(seconds=self.served + i) for i in range(requests)],
                "experiment": ["spring"] * requests,
                "unit": names,
                "arm": [decider.names[arm] for arm in decided.arm],
                "version": versions,
                "revision": [1] * requests,
                "snapshot": [decider.digest] * requests,
                "propensity": decided.propensity.tolist(),
                "context": context.tolist(),
                "outcome_latency_s": [0.001] * requests,
                "error": [False] * requests,
                "reward_id": ids,
            },
        )
        pays = self.rng.random(requests) < CHANCES[decided.arm]
        sent = self.rng.random(requests) < rewarded
        with (self.home.exposures / "m" / "rewards.jsonl").open("a") as file:
            for name, paid in zip(np.array(ids)[sent], pays[sent], strict=True):
                file.write(json.dumps({"i": str(name), "r": float(paid), "t": "2026-01-01T01:00:00.000Z"}) + "\n")
        self.served += requests


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0, which: Any = app) -> dict[str, Any]:
    assert invoke(which, "maestro", [*words, "--json"]) == code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def refusal(capsys: pytest.CaptureFixture[str], *words: str, which: Any = app) -> str:
    """What a person reads who made a mistake."""
    assert invoke(which, "maestro", list(words)) == 2
    return capsys.readouterr().err


@pytest.mark.shows("G16", "H11", "H13", env="laptop")
def test_a_bandit_learns_from_its_log_and_the_log_replays(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served = Served(home)
    for _ in range(5):
        served.serve(300)
        found = run(capsys, "learn", "--model", "m")
    assert found["number"] == 4
    arms = {arm["arm"]: arm for arm in found["arms"]}
    assert sum(arm["rewarded"] for arm in arms.values()) == 1500
    assert arms["b"]["exposures"] > 3 * arms["a"]["exposures"]
    assert arms["b"]["reward"] / arms["b"]["rewarded"] == pytest.approx(0.6, abs=0.06)
    assert found["regret"] == pytest.approx(0.3 * arms["a"]["exposures"], rel=0.4)
    assert 0.03 < found["exploration_rate"] < 0.3
    shown = run(capsys, "show", "--model", "m", "--experiment", "spring")
    assert shown["propensities"]["b"] == pytest.approx(0.95)
    assert run(capsys, "replay", "--model", "m") == {
        "experiment": "spring",
        "decisions": 1500,
        "snapshots": 5,
        "arms_differ": 0,
        "propensities_differ": 0,
        "exact": True,
    }
    again = run(capsys, "learn", "--model", "m")
    assert again["number"] == 4, "nothing new was learnt"
    assert invoke(app, "maestro", ["show", "--model", "m"]) == 0
    assert "snapshot 4" in capsys.readouterr().out


@pytest.mark.shows("H12", env="laptop")
def test_linucb_learns_and_replays_too(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served = Served(home, "linucb")
    for _ in range(3):
        served.serve(300)
        run(capsys, "learn", "--model", "m")
    found = run(capsys, "replay", "--model", "m")
    assert (found["decisions"], found["exact"]) == (900, True)


def test_a_log_that_was_changed_does_not_replay(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served = Served(home)
    served.serve(100)
    import pyarrow as pa
    import pyarrow.parquet as pq

    (path,) = served.exposures.glob("*.parquet")
    log = pq.read_table(path)
    units = log.column("unit").to_pylist()
    log = log.set_column(log.schema.get_field_index("unit"), "unit", pa.array(units[1:] + units[:1]))
    pq.write_table(log, path)
    found = run(capsys, "replay", "--model", "m", code=1)
    assert found["arms_differ"] > 10
    assert not found["exact"]


def test_rewards_that_are_late_or_missing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served = Served(home)
    served.serve(400, rewarded=0.5)
    found = run(capsys, "learn", "--model", "m")
    seen = sum(arm["rewarded"] for arm in found["arms"])
    assert 150 < seen < 250
    run(capsys, "learn", "--model", "m", "--missing-reward", "0")
    current = BanditLog(served.home, "m").store.current()
    assert current is not None
    assert sum(arm.count for arm in current.arms) == 400


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["learn", "--model", "n"], "there is no graph 'n'"),
        (["show", "--model", "m", "--experiment", "autumn"], "has no bandit 'autumn'"),
    ],
)
def test_what_is_not_there_is_said(home: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    Served(home)
    assert said in refusal(capsys, *words)


def test_off_policy_estimates_from_the_same_log(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served = Served(home)
    served.serve(3000)
    words = ["off-policy", "--experiment", "spring", "--exposures", str(served.exposures)]
    words += ["--rewards", str(served.home.exposures / "m" / "rewards.jsonl")]
    found = run(capsys, *words, "--target", "arm:b", which=ab)
    assert found["decisions"] == 3000
    assert {each["estimator"] for each in found["estimates"]} == {"dr", "ips", "snips"}
    for each in found["estimates"]:
        assert each["lower"] < 0.6 < each["upper"]
        assert each["effective_sample_size"] == pytest.approx(found["arms"]["b"])
    run(capsys, "learn", "--model", "m")
    snapshot = BanditLog(served.home, "m").store.current_path
    better = run(capsys, *words, "--target", str(snapshot), "--estimator", "dr", "--clip", "5", which=ab)
    assert better["estimates"][0]["value"] > found["logged_value"]
    assert better["estimates"][0]["clip"] == 5.0
    for target, said in [
        ("arm:c", "no overlap: the target gives 100.0% to arms that the log never took (c)"),
        ("best", "target 'best' is not known"),
    ]:
        assert said in refusal(capsys, *words, "--target", target, which=ab)
    assert invoke(ab, "maestro", [*words, "--target", "uniform"]) == 0
    assert "the log itself brought" in capsys.readouterr().out
