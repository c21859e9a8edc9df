"""The step: its verdicts, what takes precedence, what is carried on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maestro.core.decision import Verdict
from maestro.core.errors import BadInput, Conflict
from maestro.core.policy import RolloutPolicy
from maestro.decisions.rollout import Look, RolloutState, StepResult, start, step
from maestro.decisions.rollout.simulation import PROMOTED, ROLLED_BACK, UNDECIDED, simulate
from maestro.decisions.rollout.state import EvidenceState
from maestro.decisions.sequential.hypotheses import Floats
from tests.decisions.rollout.looks import POLICY, climb, look, shares
from tests.decisions.rollout.traffic import HardTraffic, policy


@pytest.mark.shows("F2", "H9", env="laptop")
def test_a_good_challenger_climbs_the_ladder_and_is_promoted() -> None:
    state, results = start(POLICY), []
    while state.ended is None:
        results.append(step(POLICY, state, look(*shares(POLICY, state))))
        state = results[-1].state
        assert len(results) < 300
    moves = [(weight, verdict) for weight, verdict in state.history if verdict is Verdict.PROMOTE]
    assert moves == [(weight, Verdict.PROMOTE) for weight in (1, 10, 50, 100)]
    assert [result.final for result in results].count(True) == 1
    assert results[-1].final
    assert results[-1].next_rung is None
    assert state.ended is Verdict.PROMOTE


def test_each_reason_names_metric_bounds_margin_counts_and_prediction() -> None:
    state = climb(POLICY, start(POLICY, predicted=({"errors": 20}, {"errors": 164}, {"errors": 2000})), 1)
    result = step(POLICY, state, look())
    reasons = {reason["metric"]: reason for reason in result.reasons}
    assert set(reasons) == {"errors", "slow", "quality"}
    errors = reasons["errors"]
    assert errors["margin"] == 0.06
    assert errors["tolerate"] == 0.005
    assert errors["predicted"] == 164
    assert errors["counts"]["challenger"][1] == state.metrics["errors"].challenger[1] + 100
    assert -1 <= errors["lower"] <= 0 <= errors["upper"] <= 1


@pytest.mark.shows("F4", env="laptop")
@pytest.mark.parametrize("rung", [0, 1, 2])
def test_errors_are_rolled_back_on_every_rung(rung: int) -> None:
    state = climb(POLICY, start(POLICY), rung)
    for number in range(60):
        champion, challenger = shares(POLICY, state)
        result = step(POLICY, state, look(champion, challenger, bad=challenger // 2 + 1))
        state = result.state
        if result.verdict is not Verdict.KEEP_GOING:
            break
        assert number < 20
    assert result.verdict is Verdict.ROLL_BACK
    assert result.next_rung is None
    reason = next(reason for reason in result.reasons if reason["metric"] == "errors")
    assert reason["lower"] >= reason["tolerate"]
    assert [reason["metric"] for reason in result.reasons if reason.get("verdict") == "roll_back"] == ["errors"]


@pytest.mark.shows("F4", env="laptop")
def test_a_latency_spike_is_rolled_back() -> None:
    state = start(POLICY)
    for _ in range(40):
        champion, challenger = shares(POLICY, state)
        result = step(
            POLICY, state, look(champion, challenger, blocks={"slow": [[0, champion, challenger, challenger]]})
        )
        state = result.state
        if state.ended is not None:
            break
    assert state.ended is Verdict.ROLL_BACK


@pytest.mark.shows("F4", env="laptop")
def test_the_bake_rolls_back_on_errors_of_the_challenger_alone() -> None:
    state = climb(POLICY, start(POLICY), 3)
    assert state.limits == {"errors": pytest.approx(0.02)}
    result = step(POLICY, state, look(0, 1000, bad=100, exposures={"champion": 0, "challenger": 1000}))
    assert result.verdict is Verdict.ROLL_BACK


def test_the_bake_takes_its_time_and_needs_data() -> None:
    state = climb(POLICY, start(POLICY), 3)
    for expected in (Verdict.KEEP_GOING, Verdict.KEEP_GOING, Verdict.PROMOTE):
        result = step(POLICY, state, look(0, 1000))
        assert result.verdict is expected
        state = result.state
    elsewhere = climb(POLICY, start(POLICY), 3)
    for _ in range(5):
        result = step(POLICY, elsewhere, look(1000, 0))
        assert result.verdict is Verdict.KEEP_GOING
        elsewhere = result.state
    empty = climb(POLICY, start(POLICY), 3)
    for _ in range(5):
        result = step(POLICY, empty, Look(elapsed_ms=1000))
        assert result.verdict is Verdict.FREEZE
        empty = result.state


def test_a_bake_is_not_passed_unobserved() -> None:
    """Three seconds are due; those in which the source was dead do not count."""
    state = climb(POLICY, start(POLICY), 3)
    for _ in range(10):
        state = step(POLICY, state, look(0, 1000, source_healthy=False)).state
    verdicts = []
    while state.ended is None:
        verdicts.append(step(POLICY, state, look(0, 1000)).verdict)
        state = step(POLICY, state, look(0, 1000)).state
    assert verdicts == [Verdict.KEEP_GOING, Verdict.KEEP_GOING, Verdict.PROMOTE]


def test_rolling_back_takes_precedence_over_promotion_budget_and_a_failed_split() -> None:
    tight = policy(requests=1, duration="1s")
    bad = look(500, 500, bad=400)
    first = step(policy(), start(policy(), baseline={"errors": (0, 1000)}), bad)
    assert first.state.sample_ratio.peak > 100, "half of the traffic where 1 % is due is a mismatch, too"
    assert first.verdict is Verdict.ROLL_BACK
    assert step(tight, start(tight, baseline={"errors": (0, 1000)}), bad).verdict is Verdict.ROLL_BACK


def test_all_metrics_have_to_be_below_their_margins() -> None:
    """Without labels nothing is known of quality: the budget ends it, never a promotion."""
    rules = policy(duration="200s")
    state = start(rules)
    while state.ended is None:
        result = step(
            rules,
            state,
            look(*shares(rules, state), wrong=0.0, labels={}).model_copy(
                update={"counts": _without_quality(rules, state)}
            ),
        )
        state = result.state
    assert state.rung == 0
    assert state.ended is Verdict.UNDECIDED
    assert result.reasons[-1] == {"cause": "budget", "requests": [200_000, 10**9], "elapsed_ms": [200_000, 200_000]}


def _without_quality(rules: RolloutPolicy, state: RolloutState) -> dict[str, Any]:
    counts = look(*shares(rules, state)).counts
    return {"errors": counts["errors"]}


def test_a_vacuous_margin_still_needs_data_in_both_arms() -> None:
    """The margin of `slow` on the first rung is 1: it needs no evidence, but requests that were timed in both arms."""
    document = POLICY.document()
    document["metrics"] = [metric for metric in document["metrics"] if metric["name"] == "slow"]
    rules = RolloutPolicy.model_validate(document)
    one_sided = look(1000, 0, blocks={"slow": [[0, 1000, 0, 0]]}, exposures={"champion": 99, "challenger": 1})
    result = step(rules, start(rules), one_sided)
    assert result.verdict is Verdict.KEEP_GOING
    assert step(rules, result.state, look(990, 10)).verdict is Verdict.PROMOTE


def test_a_vacuous_margin_of_labels_waits_for_labels() -> None:
    rules = policy(factors=(20, 3))
    state = start(rules)
    for _ in range(60):
        state = step(rules, state, look(990, 10).model_copy(update={"counts": _without_quality(rules, state)})).state
    assert state.rung == 0
    assert step(rules, state, look(990, 10)).verdict is Verdict.PROMOTE


def test_evidence_is_rounded_down() -> None:
    evidence = start(POLICY).metrics["errors"].evidence.unpack()
    up, down = (type(evidence)(evidence.log_wealth + x, evidence.peak + x, evidence.memory) for x in (1.9e-6, -1.9e-6))
    assert EvidenceState.pack(up).peak[0] == 1e-6
    assert EvidenceState.pack(down).log_wealth[0][0] == -2e-6


@pytest.mark.shows("F3", env="laptop")
def test_evidence_is_carried_from_rung_to_rung_and_the_clock_of_the_rung_is_not() -> None:
    before = start(POLICY)
    while True:
        result = step(POLICY, before, look(*shares(POLICY, before)))
        if result.verdict is Verdict.PROMOTE:
            break
        before = result.state
    after = result.state
    assert after.rung == 1
    assert after.metrics["errors"].evidence.peak >= before.metrics["errors"].evidence.peak
    assert max(after.metrics["errors"].evidence.peak) > 0
    assert after.rung_requests == (0, 0)
    assert after.rung_elapsed_ms == 0
    assert after.elapsed_ms == before.elapsed_ms + 1000


def test_an_ended_rollout_takes_no_step_and_another_policy_is_refused() -> None:
    ended = start(POLICY).model_copy(update={"ended": Verdict.ROLL_BACK})
    with pytest.raises(Conflict, match="has ended"):
        step(POLICY, ended, look())
    with pytest.raises(BadInput, match="another policy"):
        step(policy(bake="4s"), start(POLICY), look())


counts = st.tuples(st.integers(0, 200), st.integers(0, 200)).map(lambda pair: [min(pair), max(pair)])


arms = st.fixed_dictionaries({"champion": counts, "challenger": counts})


looks = st.builds(
    lambda errors, quality, block, healthy: look(
        counts={"errors": errors, "quality": quality},
        blocks={"slow": [[*block["champion"], *block["challenger"]]]},
        exposures={"champion": 0, "challenger": 0},
        source_healthy=healthy,
        requests=errors["champion"][1] + errors["challenger"][1],
    ),
    arms,
    arms,
    arms,
    st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(observed=st.lists(looks, min_size=1, max_size=8))
def test_whatever_is_observed_promotion_needs_data_of_every_metric_in_both_arms(observed: list[Look]) -> None:
    state = start(POLICY)
    for one in observed:
        result = step(POLICY, state, one)
        if result.verdict is Verdict.PROMOTE:
            assert one.source_healthy
            assert all(min(metric.champion[1], metric.challenger[1]) > 0 for metric in result.state.metrics.values())
        assert RolloutState.model_validate(result.state.document()) == result.state
        if result.state.ended is not None:
            break
        state = result.state


@settings(max_examples=30, deadline=None)
@given(blocks=st.lists(st.tuples(counts, counts), min_size=2, max_size=12), cut=st.integers(1, 11))
def test_latency_depends_on_the_blocks_and_not_on_where_looks_cut_them(
    blocks: list[tuple[list[int], list[int]]], cut: int
) -> None:
    rows = [[*champion, *challenger] for champion, challenger in blocks]
    once = step(POLICY, start(POLICY), look(990, 10, blocks={"slow": rows})).state
    first = step(POLICY, start(POLICY), look(990, 10, blocks={"slow": rows[:cut]})).state
    twice = step(POLICY, first, look(990, 10, blocks={"slow": rows[cut:]})).state if first.ended is None else first
    if twice.looks == 2:
        evidence = [np.array(state.metrics["slow"].evidence.log_wealth) for state in (once, twice)]
        assert np.max(np.abs(evidence[0] - evidence[1])) < 1e-3


ON_TEN = climb(POLICY, start(POLICY), 1)


@settings(max_examples=20, deadline=None)
@given(bad=st.integers(0, 99), seed=st.integers(0, 5))
def test_one_more_error_never_makes_the_challenger_look_better(bad: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    state = step(POLICY, ON_TEN, look(bad=int(rng.integers(0, 3)))).state
    if state.ended is not None or state.rung != 1:
        return
    fewer, more = (_errors(step(POLICY, state, look(bad=number))) for number in (bad, bad + 1))
    assert more["lower"] >= fewer["lower"]
    assert more["upper"] >= fewer["upper"]


def _errors(result: StepResult) -> dict[str, Any]:
    return next(reason for reason in result.reasons if reason.get("metric") == "errors")


def test_lower_bounds_share_alpha_between_the_metrics_and_upper_bounds_do_not() -> None:
    """A log e-value between log(1/alpha) and log(3/alpha) refutes for promotion, not yet for rolling back."""
    state = climb(POLICY, start(POLICY), 1)
    metric = state.metrics["errors"]
    between = metric.evidence.model_copy(update={"peak": tuple(3.5 for _ in metric.evidence.peak)})
    above = metric.evidence.model_copy(update={"peak": tuple(4.2 for _ in metric.evidence.peak)})
    verdicts = {}
    for name, evidence in (("between", between), ("above", above)):
        metrics = state.metrics | {"errors": metric.model_copy(update={"evidence": evidence})}
        verdicts[name] = step(POLICY, state.model_copy(update={"metrics": metrics}), look())
    assert np.log(20) < 3.5 < np.log(60) < 4.2
    assert verdicts["between"].verdict is not Verdict.ROLL_BACK
    assert _errors(verdicts["between"])["upper"] < 0
    assert _errors(verdicts["between"])["lower"] < 0
    assert verdicts["above"].verdict is Verdict.ROLL_BACK


class Recorded:
    """Passes traffic on and keeps it."""

    def __init__(self, traffic: HardTraffic) -> None:
        self.traffic = traffic
        self.kept: list[tuple[np.ndarray[Any, Any], dict[str, Floats]]] = []

    def draw(
        self, number: int, share: Floats, rung_look: Any, which: Any, rng: np.random.Generator
    ) -> dict[str, Floats]:
        drawn = self.traffic.draw(number, share, rung_look, which, rng)
        self.kept.append((which, drawn))
        return drawn


@pytest.mark.shows("H6", env="laptop")
@pytest.mark.parametrize("differences", [{}, {"errors": 0.2}, {"quality": 0.06}])
def test_the_simulation_takes_the_very_decisions_of_the_step(differences: dict[str, float]) -> None:
    """What is shown of simulated rollouts holds of real ones because both decide alike, look for look."""
    rollouts, most = 5, 60
    recorded = Recorded(HardTraffic(rollouts, differences, most, 400))
    outcomes = simulate(POLICY, recorded, rollouts=rollouts, looks=most, bake_looks=3, seed=5)
    codes = {Verdict.PROMOTE: PROMOTED, Verdict.ROLL_BACK: ROLLED_BACK, None: UNDECIDED}
    for index in range(rollouts):
        state = start(POLICY)
        for which, drawn in recorded.kept:
            if index not in which:
                break
            row = int(np.nonzero(which == index)[0][0])
            counts = {name: drawn[name][row].astype(int).tolist() for name in ("errors", "quality")}
            observed = Look.model_validate(
                {
                    "counts": {name: {"champion": row[:2], "challenger": row[2:]} for name, row in counts.items()},
                    "blocks": {"slow": drawn["slow"][row].astype(int).tolist()},
                    "requests": 400,
                    "elapsed_ms": 1000,
                }
            )
            state = step(POLICY, state, observed).state
        assert codes[state.ended] == outcomes.verdict[index]
        assert state.looks == outcomes.looks[index]
        assert sum(np.isfinite(outcomes.left[index, :3])) == state.rung
