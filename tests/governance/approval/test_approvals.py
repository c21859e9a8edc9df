"""Who may approve what: never one who had a part in it, never an agent, never something else than was submitted."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from maestro.clients.database.schema.governance import approvals, decisions, model_versions, policies
from maestro.core.decision import Verdict
from maestro.core.errors import Conflict, Refused
from maestro.core.policy import GatePolicy, RolloutPolicy
from maestro.core.principals import Principal, PrincipalRole
from maestro.governance.approval import Approval, ApprovalStatus
from maestro.governance.decisions import replay_all
from maestro.governance.versions import ModelVersion, Stage
from maestro.security.principals import PrincipalStore
from tests.governance.conftest import ADA, BOB, OPS, Kit

APPROVER = (PrincipalRole.APPROVER, PrincipalRole.SUBMITTER)


def _submitted(kit: Kit, policy: RolloutPolicy) -> tuple[ModelVersion, Approval]:
    version = kit.register(f1=0.8)
    return version, kit.governance.approvals.submit(ADA, version, policy)


@pytest.mark.shows("E1", "E2", "D8", env="laptop")
def test_gates_pass_then_another_person_approves(kit_on_each: Kit, policy: RolloutPolicy) -> None:
    kit = kit_on_each
    version, request = _submitted(kit, policy)
    assert request.status is ApprovalStatus.PENDING
    assert {gate["gate"]: gate["passed"] for gate in request.evidence["gates"]} == {
        "contract": True, "signature": True, "lineage": True, "offline": True, "approvals": True,
    }  # fmt: skip
    assert kit.governance.versions.get(kit.model, version.version).stage is Stage.STAGING
    assert kit.store.registry.aliases(kit.model) == {"staging": "1"}
    answered = kit.governance.approvals.approve(BOB, request.id, "looks right")
    assert (answered.status, answered.decided_by) == (ApprovalStatus.APPROVED, "human:bob")
    report, record, references = kit.governance.approvals.gate(version, policy, actor=OPS.actor)
    assert report.verdict is Verdict.PASS
    assert [reference.principal for reference in references] == ["human:bob"]
    assert record.policy == policy.content_digest()
    assert all(report.ok for report in replay_all(kit.governance.decisions, kit.governance.replayers))


def test_submitting_the_same_again_gives_the_same_request(kit: Kit, policy: RolloutPolicy) -> None:
    version, request = _submitted(kit, policy)
    assert kit.governance.approvals.submit(ADA, version, policy).id == request.id


@pytest.mark.parametrize(
    ("approver", "reason"),
    [
        (Principal(name="ada", kind="human", roles=APPROVER), "submitted and trained it"),
        (Principal(name="helper", kind="agent", roles=APPROVER), "no person"),
        (Principal(name="robot", kind="service", roles=APPROVER), "no person"),
        (Principal(name="controller", kind="system", roles=APPROVER), "no person"),
        (OPS, "lacks the role approver"),
    ],
)
def test_who_may_not_approve(kit: Kit, policy: RolloutPolicy, approver: Principal, reason: str) -> None:
    _, request = _submitted(kit, policy)
    with pytest.raises(Refused, match=reason):
        kit.governance.approvals.approve(approver, request.id)
    assert kit.governance.approvals.store.get(request.id).status is ApprovalStatus.PENDING
    refusal = kit.governance.audit.entries(action="approval.answer")[-1]
    assert (refusal.actor, refusal.outcome) == (approver.actor, "refused")


def test_who_registered_the_version_may_not_approve_it(kit: Kit, policy: RolloutPolicy) -> None:
    run_id, uri = kit.store.log(kit.home.root / "built", {"m": b"x"}, agreed=kit.register(f1=0.5).contract)
    asked = kit.registration(run_id, uri, f1=0.8).model_copy(update={"registered_by": BOB.actor})
    request = kit.governance.approvals.submit(ADA, kit.governance.registrar.register(asked), policy)
    with pytest.raises(Refused, match="registered it"):
        kit.governance.approvals.approve(BOB, request.id)


@pytest.mark.shows("E1", env="laptop")
def test_one_person_with_two_keys_is_one_principal(kit: Kit, policy: RolloutPolicy) -> None:
    principals = PrincipalStore(kit.database, kit.clock)
    principals.create(Principal(name="ada", kind="human", roles=APPROVER))
    first, second = (principals.authenticate(principals.mint_key("ada")) for _ in range(2))
    version = kit.register(f1=0.8)
    request = kit.governance.approvals.submit(first, version, policy)
    with pytest.raises(Refused, match="ada"):
        kit.governance.approvals.approve(second, request.id)


def test_two_approvals_need_two_people(kit: Kit, policy: RolloutPolicy) -> None:
    two = policy.model_copy(update={"gates": GatePolicy(approvals=2)})
    version, request = _submitted(kit, two)
    kit.governance.approvals.approve(BOB, request.id)
    with pytest.raises(Conflict):
        kit.governance.approvals.approve(BOB, request.id)
    assert kit.governance.approvals.gate(version, two, actor="human:ops")[0].verdict is Verdict.FAIL
    kit.governance.approvals.approve(BOB.model_copy(update={"name": "eve"}), request.id)
    assert kit.governance.approvals.gate(version, two, actor="human:ops")[0].verdict is Verdict.PASS


def test_an_approval_expires(kit: Kit, policy: RolloutPolicy) -> None:
    version, request = _submitted(kit, policy)
    other = kit.register(f1=0.81)
    pending = kit.governance.approvals.submit(ADA, other, policy)
    kit.governance.approvals.approve(BOB, request.id)
    kit.clock.sleep(timedelta(days=7).total_seconds())
    assert kit.governance.approvals.gate(version, policy, actor="human:ops")[0].verdict is Verdict.FAIL
    with pytest.raises(Refused, match="expired"):
        kit.governance.approvals.approve(BOB, pending.id)
    assert kit.governance.approvals.store.get(pending.id).status is ApprovalStatus.EXPIRED


@pytest.mark.shows("E1", env="laptop")
def test_an_approval_counts_for_its_version_only(kit: Kit, policy: RolloutPolicy) -> None:
    _, request = _submitted(kit, policy)
    kit.governance.approvals.approve(BOB, request.id)
    other = kit.register(f1=0.9)
    with kit.database.begin() as connection:  # replayed: the row is moved to another version
        connection.execute(update(approvals).where(approvals.c.id == request.id).values(version=other.version))
    report, _, references = kit.governance.approvals.gate(other, policy, actor="human:ops")
    assert report.verdict is Verdict.FAIL
    assert "given for another version" in report.results[-1].reason
    assert references == ()


@pytest.mark.shows("E1", env="laptop")
def test_an_edited_policy_voids_the_approval(kit: Kit, policy: RolloutPolicy) -> None:
    version, request = _submitted(kit, policy)
    kit.governance.approvals.approve(BOB, request.id)
    laxer = policy.model_copy(update={"alpha": 0.2})
    report, *_ = kit.governance.approvals.gate(version, laxer, actor="human:ops")
    assert report.verdict is Verdict.FAIL
    assert "another policy" in report.results[-1].reason


def test_a_policy_edited_in_the_database_is_noticed(kit: Kit, policy: RolloutPolicy) -> None:
    version, request = _submitted(kit, policy)
    with kit.database.begin() as connection:
        connection.execute(update(policies).values(document=policy.document() | {"alpha": 0.4}))
    with pytest.raises(Refused, match="another policy"):
        kit.governance.approvals.approve(BOB, request.id)
    assert kit.governance.approvals.store.get(request.id).status is ApprovalStatus.VOID
    with pytest.raises(Refused, match="edited in the database"):
        kit.governance.approvals.submit(ADA, version, policy)


def _edit_file(kit: Kit, version: ModelVersion, request: Approval) -> None:
    (kit.home.version(kit.model, version.version) / "files" / "model.bin").write_bytes(b"other")


def _edit_manifest(kit: Kit, version: ModelVersion, request: Approval) -> None:
    path = kit.home.version(kit.model, version.version) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"run_id": "other"}))


def _edit_contract(kit: Kit, version: ModelVersion, request: Approval) -> None:
    path = kit.home.version(kit.model, version.version) / "files" / "contract.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"on_out_of_range": "refuse"}))


def _edit_metrics(kit: Kit, version: ModelVersion, request: Approval) -> None:
    with kit.database.begin() as connection:
        connection.execute(
            update(model_versions).where(model_versions.c.version == version.version).values(metrics={"f1": 0.99})
        )


def _edit_evidence(kit: Kit, version: ModelVersion, request: Approval) -> None:
    with kit.database.begin() as connection:
        evidence = request.evidence | {"champion": "none"}
        connection.execute(update(approvals).where(approvals.c.id == request.id).values(evidence=evidence))


@pytest.mark.parametrize("edit", [_edit_file, _edit_manifest, _edit_contract, _edit_metrics, _edit_evidence])
def test_what_was_approved_may_not_change(
    kit: Kit, policy: RolloutPolicy, edit: Callable[[Kit, ModelVersion, Approval], None]
) -> None:
    version, request = _submitted(kit, policy)
    kit.governance.approvals.approve(BOB, request.id)
    assert kit.governance.approvals.gate(version, policy, actor="human:ops")[0].verdict is Verdict.PASS
    edit(kit, version, request)
    assert kit.governance.approvals.gate(version, policy, actor="human:ops")[0].verdict is Verdict.FAIL


def test_a_failed_gate_is_recorded_and_asks_nobody(kit: Kit, policy: RolloutPolicy) -> None:
    kit.champion(policy, f1=0.9)
    worse = kit.register(f1=0.7)
    request = kit.governance.approvals.submit(ADA, worse, policy)
    assert request.status is ApprovalStatus.GATES_FAILED
    failed = [gate for gate in request.evidence["gates"] if not gate["passed"]]
    assert [gate["gate"] for gate in failed] == ["offline"]
    assert "worse by 0.2" in failed[0]["reason"]
    with pytest.raises(Conflict):
        kit.governance.approvals.approve(BOB, request.id)
    with kit.database.read() as connection:
        verdicts = connection.execute(
            select(decisions.c.verdict).where(decisions.c.kind == "gate", decisions.c.version == worse.version)
        ).scalars()
        assert list(verdicts) == ["fail"]


def test_a_refusal_by_a_reviewer_blocks(kit: Kit, policy: RolloutPolicy) -> None:
    version, request = _submitted(kit, policy)
    assert kit.governance.approvals.refuse(BOB, request.id, "no").status is ApprovalStatus.REFUSED
    report, *_ = kit.governance.approvals.gate(version, policy, actor="human:ops")
    assert report.results[-1].reason.startswith("refused by bob")
    assert all(report.ok for report in replay_all(kit.governance.decisions, kit.governance.replayers))
