"""The gates: nothing unknown passes, each gate gives a reason, and nobody approves their own work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.core.decision import Verdict
from maestro.core.policy import GatePolicy, OfflineGate
from maestro.core.principals import Principal, PrincipalRole
from maestro.decisions.gates import ApprovalFact, Bound, GateFacts, GateResult, check_gates

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
POLICY = GatePolicy(offline=OfflineGate(metric="f1", margin=0.01))


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


BOUND = Bound(version=digest("1"), contract=digest("2"), policy=digest("3"), evidence=digest("4"))


def approval(name: str = "rita", **changes: Any) -> ApprovalFact:
    kind: Literal["human", "service", "agent", "system"] = changes.pop("kind", "human")
    roles = changes.pop("roles", (PrincipalRole.APPROVER,))
    fields: dict[str, Any] = {
        "id": changes.pop("id", f"a-{name}"),
        "principal": Principal(name=name, kind=kind, roles=roles),
        "bound": BOUND,
        "at": NOW - timedelta(hours=1),
        "expires": NOW + timedelta(days=1),
    }
    return ApprovalFact(**fields | changes)


def facts(**changes: Any) -> GateFacts:
    fields: dict[str, Any] = {
        "bound": BOUND,
        "contract_valid": True,
        "signature_verified": True,
        "lineage_missing": (),
        "champion_metric": 0.95,
        "candidate_metric": 0.945,
        "involved": {"submitted": "ada", "trained": "bob", "registered": "ada"},
        "approvals": (approval(),),
    }
    return GateFacts(**fields | changes)


def result(gate: str, given_facts: GateFacts, policy: GatePolicy = POLICY) -> GateResult:
    return next(one for one in check_gates(policy, given_facts, NOW).results if one.gate == gate)


@pytest.mark.shows("E1", env="laptop")
def test_a_candidate_that_meets_every_gate_passes() -> None:
    report = check_gates(POLICY, facts(), NOW)
    assert report.verdict is Verdict.PASS
    assert [one.gate for one in report.results] == ["contract", "signature", "lineage", "offline", "approvals"]
    assert all(one.reason for one in report.results)


def test_nothing_unknown_passes() -> None:
    report = check_gates(
        POLICY, GateFacts(bound=Bound(version=digest("1"), policy=digest("3"), evidence=digest("4"))), NOW
    )
    assert report.verdict is Verdict.FAIL
    assert not any(one.passed for one in report.results)


@pytest.mark.parametrize(
    ("gate", "changes", "reason"),
    [
        ("contract", {"contract_valid": False}, "not valid"),
        ("contract", {"bound": BOUND.model_copy(update={"contract": None})}, "absent, required"),
        ("signature", {"signature_verified": False}, "not verified"),
        ("lineage", {"lineage_missing": ("data", "run")}, "not recorded: data, run"),
        ("offline", {"candidate_metric": 0.939}, "worse by 0.011"),
        ("offline", {"candidate_metric": float("nan")}, "candidate's f1 is not known"),
        ("offline", {"candidate_metric": None}, "candidate's f1 is not known"),
        ("offline", {"champion_metric": None}, "champion's f1 is not known"),
        ("approvals", {"approvals": ()}, "0 of 1"),
    ],
)
def test_each_gate_fails_with_its_reason(gate: str, changes: dict[str, Any], reason: str) -> None:
    one = result(gate, facts(**changes))
    assert not one.passed
    assert reason in one.reason
    assert check_gates(POLICY, facts(**changes), NOW).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("candidate", "higher", "passed"),
    [(0.94, True, True), (0.9399, True, False), (0.96, False, True), (0.9601, False, False)],
)
def test_the_offline_margin_is_inclusive_and_knows_its_direction(candidate: float, higher: bool, passed: bool) -> None:
    policy = GatePolicy(offline=OfflineGate(metric="m", margin=0.01, higher_is_better=higher))
    assert result("offline", facts(candidate_metric=candidate), policy).passed is passed


def test_the_first_version_has_no_champion_to_compare_with() -> None:
    assert result("offline", facts(has_champion=False, champion_metric=None)).passed


def test_what_the_policy_leaves_optional_passes_without() -> None:
    policy = GatePolicy(contract="optional", signature="optional", lineage="optional", approvals=0)
    absent = GateFacts(bound=Bound(version=digest("1"), policy=digest("3"), evidence=digest("4")))
    assert check_gates(policy, absent, NOW).verdict is Verdict.PASS
    broken = facts(contract_valid=False)
    assert not result("contract", broken, policy).passed, "a contract that is there has to be valid"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": "ada"}, "ada, who registered and submitted it"),
        ({"name": "bob"}, "bob, who trained it"),
        ({"kind": "agent"}, "agent:rita, no person"),
        ({"kind": "service"}, "service:rita, no person"),
        ({"roles": (PrincipalRole.OPERATOR,)}, "no approver"),
        ({"expires": NOW}, "has expired"),
        ({"at": NOW + timedelta(seconds=1)}, "dated in the future"),
        ({"withdrawn": True}, "was withdrawn"),
        ({"bound": BOUND.model_copy(update={"version": digest("9")})}, "another version"),
        ({"bound": BOUND.model_copy(update={"contract": digest("9")})}, "another contract"),
        (
            {"bound": BOUND.model_copy(update={"policy": digest("9"), "evidence": digest("9")})},
            "another policy and evidence",
        ),
    ],
)
def test_an_approval_that_does_not_count_says_why(changes: dict[str, Any], why: str) -> None:
    one = result("approvals", facts(approvals=(approval(**changes),)))
    assert not one.passed
    assert why in one.reason


def test_two_keys_of_one_person_are_one_approval() -> None:
    policy = GatePolicy(approvals=2)
    twice = (approval(id="first"), approval(id="second"))
    assert not result("approvals", facts(approvals=twice), policy).passed
    assert result("approvals", facts(approvals=(approval(), approval("sam"))), policy).passed


def test_a_refusal_that_counts_outweighs_approvals_and_one_that_does_not_is_ignored() -> None:
    assert not result("approvals", facts(approvals=(approval(), approval("sam", answer="refuse")))).passed
    assert result("approvals", facts(approvals=(approval(), approval("ada", answer="refuse")))).passed


@given(
    contract=st.booleans(),
    signature=st.booleans(),
    gaps=st.integers(0, 2),
    metric=st.floats(0.9, 1.0),
    approvals=st.integers(0, 2),
)
def test_the_report_passes_only_if_every_gate_does(
    contract: bool, signature: bool, gaps: int, metric: float, approvals: int
) -> None:
    given_facts = facts(
        contract_valid=contract,
        signature_verified=signature,
        lineage_missing=("data", "run")[:gaps],
        candidate_metric=metric,
        approvals=(approval(), approval("sam"))[:approvals],
    )
    expected = contract and signature and gaps == 0 and metric >= 0.94 - 1e-9 and approvals > 0
    assert (check_gates(POLICY, given_facts, NOW).verdict is Verdict.PASS) == expected
