"""The difference of two readings: integers, restarts handled, nothing guessed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from maestro.core.policy import RolloutPolicy
from maestro.core.seams import ArmReading, Reading
from maestro.governance.rollouts.looks import ArmNames, difference

NAMES = ArmNames(champion="a", challenger="b")
START = datetime(2026, 1, 1, tzinfo=UTC)


def _arm(version: str, **counts: Any) -> ArmReading:
    ok, error, slow = counts.pop("ok", 0), counts.pop("error", 0), counts.pop("slow", 0)
    latency = {"0.1": ok + error - slow, "1.0": ok + error, "+Inf": ok + error}
    return ArmReading(version=version, requests={"ok": ok, "error": error}, latency=latency, **counts)


def _reading(seconds: int, a: ArmReading, b: ArmReading, **fields: Any) -> Reading:
    values: dict[str, Any] = {"epoch": "e", "revision": 3} | fields
    return Reading(at=START + timedelta(seconds=seconds), arms={"a": a, "b": b}, **values)


def test_differences_by_metric(policy: RolloutPolicy) -> None:
    before = _reading(
        0, _arm("1", ok=100, error=2, slow=1, eligible=90, labelled=80, wrong=20, entered=50), _arm("2", ok=10)
    )
    after = _reading(
        1,
        _arm("1", ok=190, error=5, slow=3, eligible=120, labelled=100, wrong=27, entered=75),
        _arm("2", ok=20, error=1, slow=4, eligible=5, labelled=4, wrong=1, entered=6),
    )
    look = difference(policy, NAMES, before, after)
    assert look.counts["errors"].champion == (3, 93)
    assert look.counts["errors"].challenger == (1, 11)
    assert look.blocks["slow"] == ((2, 93, 4, 11),)
    assert look.counts["quality"].champion == (7, 20)
    assert look.labels["quality"].champion == (20, 30)
    assert (look.exposures.champion, look.exposures.challenger) == (25, 6)
    assert (look.requests, look.elapsed_ms, look.source_healthy) == (104, 1000, True)


def test_a_restarted_server_counts_requests_from_zero_and_entities_on(policy: RolloutPolicy) -> None:
    before = _reading(0, _arm("1", ok=100, labelled=80, eligible=80, wrong=20, entered=50), _arm("2", ok=10))
    after = _reading(
        1, _arm("1", ok=30, error=1, labelled=85, eligible=85, wrong=22, entered=9), _arm("2", ok=3), epoch="f"
    )
    look = difference(policy, NAMES, before, after)
    assert look.counts["errors"].champion == (1, 31)
    assert look.counts["quality"].champion == (2, 5)
    assert look.exposures.champion == 0  # the same entities enter again: no fresh draw
    assert look.source_healthy


def test_a_counter_that_falls_without_a_restart_is_no_evidence(policy: RolloutPolicy) -> None:
    before = _reading(0, _arm("1", ok=100), _arm("2", ok=10))
    assert not difference(policy, NAMES, before, _reading(1, _arm("1", ok=99), _arm("2", ok=12))).source_healthy


def test_an_arm_that_is_missing_is_no_evidence(policy: RolloutPolicy) -> None:
    before = _reading(0, _arm("1", ok=100), _arm("2", ok=10))
    after = before.model_copy(update={"arms": {"a": before.arms["a"]}})
    assert not difference(policy, NAMES, before, after).source_healthy


def test_a_bound_that_is_not_counted_is_no_evidence(policy: RolloutPolicy) -> None:
    slow = policy.metrics[1].model_copy(update={"bad": "latency > 0.3s"})
    other = policy.model_copy(update={"metrics": (slow,)})
    before = _reading(0, _arm("1", ok=1), _arm("2", ok=1))
    assert not difference(other, NAMES, before, before).source_healthy
