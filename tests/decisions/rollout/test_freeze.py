"""What freezes a rollout: data that cannot be trusted, a broken split, a person, labels that are missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maestro.core.decision import Verdict
from maestro.decisions.rollout import release, start, step
from tests.decisions.rollout.looks import POLICY, climb, look, shares
from tests.decisions.rollout.traffic import policy

BROKEN: list[dict[str, Any]] = [
    {"source_healthy": False},
    {"requests": float("nan")},
    {"elapsed_ms": -5},
    {"counts": {"errors": {"champion": [float("nan"), 900], "challenger": [0, 100]}}},
    {"counts": {"errors": {"champion": [0, 900], "challenger": [0, float("inf")]}}},
    {"counts": {"errors": {"champion": [0, 900], "challenger": [101, 100]}}},
    {"counts": {"errors": {"champion": [0.5, 900], "challenger": [0, 100]}}},
    {"blocks": {"slow": [[0, 900, None, 100]]}},
    {"exposures": {"champion": float("nan"), "challenger": 100}},
    {"labels": {"quality": {"champion": [float("nan"), 900], "challenger": [100, 100]}}},
    {"dropped": 3},
]


@pytest.mark.parametrize("changes", BROKEN)
def test_what_cannot_be_trusted_freezes_until_data_are_back(changes: dict[str, Any]) -> None:
    """Even where the state before was about to climb: the same look, unbroken, does."""
    ready = start(POLICY)
    while step(POLICY, ready, look(*shares(POLICY, ready))).verdict is not Verdict.PROMOTE:
        ready = step(POLICY, ready, look(*shares(POLICY, ready))).state
    frozen = step(POLICY, ready, look(990, 10, **changes))
    assert frozen.verdict is Verdict.FREEZE
    assert frozen.reasons[-1]["cause"] == "source"
    assert frozen.next_rung == ready.rung
    again = step(POLICY, frozen.state, look(990, 10))
    assert again.verdict is Verdict.PROMOTE
    assert again.state.frozen is None


@pytest.mark.parametrize("metric", ["errors", "slow"])
def test_requests_that_no_metric_saw_freeze(metric: str) -> None:
    good = look(990, 10)
    changes = {"counts": {name: value for name, value in good.counts.items() if name != metric}}
    if metric == "slow":
        changes["blocks"] = {}
    result = step(POLICY, start(POLICY), good.model_copy(update=changes))
    assert result.verdict is Verdict.FREEZE
    assert result.reasons[-1]["cause"] == "no_data"


def test_a_dead_source_adds_no_evidence_and_ends_undecided_at_the_budget() -> None:
    rules = policy(duration="3s")
    state = start(rules)
    verdicts = []
    for _ in range(3):
        result = step(rules, state, look(bad=100, source_healthy=False))
        verdicts.append(result.verdict)
        state = result.state
    assert verdicts == [Verdict.FREEZE, Verdict.FREEZE, Verdict.UNDECIDED]
    assert state.metrics == start(rules).metrics


def test_a_broken_split_freezes_for_good_until_a_person_releases_it() -> None:
    result = step(POLICY, start(POLICY), look(900, 100))
    assert result.verdict is Verdict.FREEZE
    assert result.reasons[-1]["cause"] == "sample_ratio"
    state = result.state
    for _ in range(50):
        result = step(POLICY, state, look(990, 10))
        assert result.verdict is Verdict.FREEZE
        state = result.state
    released = release(state)
    assert released.frozen is None
    assert released.metrics["errors"] == state.metrics["errors"]
    assert step(POLICY, released, look(990, 10)).verdict is not Verdict.FREEZE


def test_the_split_is_judged_by_the_weight_of_the_rung() -> None:
    on_ten = climb(POLICY, start(POLICY), 1)
    assert step(POLICY, on_ten, look(900, 100)).state.frozen is None
    assert step(POLICY, on_ten, look(990, 10)).state.frozen is not None


def test_a_persons_edit_freezes_even_a_roll_back() -> None:
    result = step(POLICY, start(POLICY), look(990, 10, human_edit=True))
    assert result.reasons[-1]["cause"] == "human"
    state = result.state
    for _ in range(20):
        result = step(POLICY, state, look(990, 10, bad=10))
        state = result.state
        assert result.verdict is Verdict.FREEZE
    assert step(POLICY, release(state), look(990, 10, bad=10)).verdict is Verdict.ROLL_BACK


def test_labels_missing_at_different_rates_freeze_and_are_no_evidence() -> None:
    """Once frozen so, wrong answers roll nothing back, since which answers are labelled is no accident; errors still do."""
    state = climb(POLICY, start(POLICY), 2)
    labels = {"quality": {"champion": [500, 500], "challenger": [300, 500]}}
    while state.frozen is None:
        state = step(POLICY, state, look(500, 500, labels=labels)).state
    assert state.frozen.cause == "labels"
    wrong = look(500, 500).counts | {"quality": {"champion": [50, 500], "challenger": [300, 300]}}
    for _ in range(5):
        result = step(POLICY, state, look(500, 500, labels=labels, counts=wrong))
        assert result.verdict is Verdict.FREEZE
        state = result.state
    reason = next(reason for reason in result.reasons if reason.get("metric") == "quality")
    assert reason["lower"] > reason["tolerate"]
    assert step(POLICY, state, look(500, 500, bad=300)).verdict is Verdict.ROLL_BACK


@pytest.mark.parametrize(("arm", "labelled"), [("challenger", (500, 400)), ("champion", (400, 500))])
def test_missing_labels_of_either_arm_are_named(arm: str, labelled: tuple[int, int]) -> None:
    state = climb(POLICY, start(POLICY), 2)
    labels = {"quality": {"champion": [labelled[0], 500], "challenger": [labelled[1], 500]}}
    causes = []
    for _ in range(4):
        result = step(POLICY, state, look(500, 500, labels=labels))
        state = result.state
        causes.append(result.reasons[-1])
    assert causes[-1]["cause"] == "labels"
    assert arm in causes[-1]["detail"]
    assert result.verdict is Verdict.FREEZE


def test_labels_missing_alike_do_not_freeze() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        state = start(POLICY)
        while state.ended is None:
            champion, challenger = shares(POLICY, state)
            arms = {"champion": champion, "challenger": challenger}
            labels = {"quality": {arm: [int(rng.binomial(size, 0.7)), size] for arm, size in arms.items()}}
            state = step(POLICY, state, look(champion, challenger, labels=labels)).state
            assert state.frozen is None
