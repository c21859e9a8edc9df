"""The gates before a rollout: facts about a version and its policy give pass or fail, with one reason a gate."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from pydantic import Field

from maestro.core.decision import Verdict
from maestro.core.model import Digest, Model, Time
from maestro.core.policy import GatePolicy, OfflineGate
from maestro.core.principals import Principal, PrincipalRole


class Bound(Model):
    """What an approval is about; it is void when one of these changes."""

    version: Digest
    contract: Digest | None = None
    policy: Digest
    evidence: Digest


class ApprovalFact(Model):
    """A reviewer's answer, whose credential was verified."""

    id: str
    principal: Principal
    bound: Bound
    at: Time
    expires: Time
    answer: Literal["approve", "refuse"] = "approve"
    withdrawn: bool = False


class GateFacts(Model):
    """What is known of a candidate. Absent means not known, and nothing unknown passes a gate."""

    bound: Bound
    contract_valid: bool = False
    signature_verified: bool = False
    lineage_missing: tuple[str, ...] = Field(
        default=("lineage",), description="links of the chain that are not recorded"
    )
    champion_metric: float | None = None
    candidate_metric: float | None = None
    has_champion: bool = True
    involved: dict[str, str] = Field(
        default_factory=dict, description="who took part, by part: {submitted: ada, trained: bob, registered: ada}"
    )
    approvals: tuple[ApprovalFact, ...] = ()


class GateResult(Model):
    """One gate."""

    gate: Literal["contract", "signature", "lineage", "offline", "approvals"]
    passed: bool
    reason: str


class GateReport(Model):
    """All gates of the policy; the verdict is `pass` only if each passed."""

    verdict: Verdict
    results: tuple[GateResult, ...]


def check_gates(policy: GatePolicy, facts: GateFacts, at: datetime) -> GateReport:
    """Check every gate; none is left out because another failed.

    Args:
        policy: what has to hold.
        facts: what is known.
        at: now, which decides on expiry.

    >>> from datetime import UTC
    >>> d = "sha256:" + "0" * 64
    >>> facts = GateFacts(bound=Bound(version=d, policy=d, evidence=d), signature_verified=True, lineage_missing=())
    >>> report = check_gates(GatePolicy(contract="optional", approvals=0), facts, datetime(2026, 1, 1, tzinfo=UTC))
    >>> report.verdict.value, [result.gate for result in report.results]
    ('pass', ['contract', 'signature', 'lineage', 'approvals'])
    """
    results = [_contract(policy, facts), _signature(policy, facts), _lineage(policy, facts)]
    if policy.offline is not None:
        results.append(_offline(policy.offline, facts))
    results.append(_approvals(policy.approvals, facts, at))
    passed = all(result.passed for result in results)
    return GateReport(verdict=Verdict.PASS if passed else Verdict.FAIL, results=tuple(results))


def _contract(policy: GatePolicy, facts: GateFacts) -> GateResult:
    if facts.bound.contract is None:
        return GateResult(gate="contract", passed=policy.contract == "optional", reason=f"absent, {policy.contract}")
    reason = "present and valid" if facts.contract_valid else "present, but not valid"
    return GateResult(gate="contract", passed=facts.contract_valid, reason=reason)


def _signature(policy: GatePolicy, facts: GateFacts) -> GateResult:
    if facts.signature_verified:
        return GateResult(gate="signature", passed=True, reason="verified against the trust policy")
    return GateResult(
        gate="signature", passed=policy.signature == "optional", reason=f"not verified, {policy.signature}"
    )


def _lineage(policy: GatePolicy, facts: GateFacts) -> GateResult:
    if not facts.lineage_missing:
        return GateResult(gate="lineage", passed=True, reason="complete")
    missing = ", ".join(facts.lineage_missing)
    return GateResult(gate="lineage", passed=policy.lineage == "optional", reason=f"not recorded: {missing}")


def _offline(gate: OfflineGate, facts: GateFacts) -> GateResult:
    def result(passed: bool, reason: str) -> GateResult:
        return GateResult(gate="offline", passed=passed, reason=reason)

    candidate, champion = facts.candidate_metric, facts.champion_metric
    if candidate is None or not math.isfinite(candidate):
        return result(False, f"the candidate's {gate.metric} is not known")
    if not facts.has_champion:
        return result(True, f"{gate.metric} {candidate:.6g}; no champion to compare with")
    if champion is None or not math.isfinite(champion):
        return result(False, f"the champion's {gate.metric} is not known")
    loss = champion - candidate if gate.higher_is_better else candidate - champion
    reason = (
        f"{gate.metric} {candidate:.6g}, champion {champion:.6g}: worse by {loss:.6g}, at most {gate.margin:g} allowed"
    )
    # Rounded, so that a loss of exactly the margin passes whatever the last bit of the subtraction says.
    return result(round(loss - gate.margin, 12) <= 0, reason)


def _approvals(needed: int, facts: GateFacts, at: datetime) -> GateResult:
    objections = {approval.id: _objection(approval, facts, at) for approval in facts.approvals}
    valid = [approval for approval in facts.approvals if objections[approval.id] is None]
    refused = sorted({approval.principal.name for approval in valid if approval.answer == "refuse"})
    approved = sorted({approval.principal.name for approval in valid if approval.answer == "approve"})
    if refused:
        return GateResult(gate="approvals", passed=False, reason=f"refused by {', '.join(refused)}")
    reason = f"{len(approved)} of {needed}"
    if approved:
        reason += f" by {', '.join(approved)}"
    void = [f"{approval_id} {why}" for approval_id, why in objections.items() if why is not None]
    if void:
        reason += "; not counted: " + "; ".join(void)
    return GateResult(gate="approvals", passed=len(approved) >= needed, reason=reason)


def _objection(approval: ApprovalFact, facts: GateFacts, at: datetime) -> str | None:
    """Why an answer does not count; None where it does."""
    principal = approval.principal
    parts = sorted(part for part, name in facts.involved.items() if name == principal.name)
    changed = [name for name in Bound.model_fields if getattr(approval.bound, name) != getattr(facts.bound, name)]
    checks: tuple[tuple[bool, Callable[[], str]], ...] = (
        (principal.kind != "human", lambda: f"is of {principal.actor}, no person"),
        (PrincipalRole.APPROVER not in principal.roles, lambda: f"is of {principal.name}, who is no approver"),
        (bool(parts), lambda: f"is of {principal.name}, who {' and '.join(parts)} it"),
        (bool(changed), lambda: f"was given for another {' and '.join(changed)}"),
        (approval.withdrawn, lambda: "was withdrawn"),
        (approval.at > at, lambda: "is dated in the future"),
        (approval.expires <= at, lambda: "has expired"),
    )
    return next((why() for applies, why in checks if applies), None)
