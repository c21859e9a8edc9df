"""Submitting, approving and refusing versions; and which approvals count when it matters."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from sqlalchemy import Connection

from maestro.clients.database.outbox import append_event
from maestro.core.canonical import digest
from maestro.core.clock import Clock
from maestro.core.decision import DecisionRecord, Verdict
from maestro.core.errors import Conflict, NotFound, Refused
from maestro.core.model import format_time
from maestro.core.policy import GatePolicy, RolloutPolicy
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.statement import ApprovalRef
from maestro.decisions.gates import ApprovalFact, GateFacts, GateReport, check_gates
from maestro.governance.approval.evidence import EvidenceGatherer, Gathered
from maestro.governance.approval.store import Approval, ApprovalStatus, ApprovalStore
from maestro.governance.decisions.replay import ReplayContext
from maestro.governance.decisions.store import DecisionStore
from maestro.governance.versions.stages import Stages
from maestro.governance.versions.store import ModelVersion, Stage, VersionStore
from maestro.security.audit import AuditLog

VALID_FOR = timedelta(days=7)
"""How long an approval counts."""

GATE, ANSWER = "gate", "approval"
"""Kinds of the decisions made here."""

_ONE_APPROVAL = GatePolicy(contract="optional", signature="optional", lineage="optional", offline=None, approvals=1)


class Approvals:
    """The approval workflow.

    An approval is bound to the digests of version, contract, policy and evidence. Whether it counts is decided anew each time, from what is known
    then, by `maestro.decisions.gates`.
    """

    def __init__(
        self,
        store: ApprovalStore,
        versions: VersionStore,
        decisions: DecisionStore,
        stages: Stages,
        evidence: EvidenceGatherer,
        clock: Clock,
        audit: AuditLog,
        *,
        valid_for: timedelta = VALID_FOR,
    ) -> None:
        self.store = store
        self._versions = versions
        self._decisions = decisions
        self._stages = stages
        self._evidence = evidence
        self._clock = clock
        self._audit = audit
        self._valid_for = valid_for

    def submit(self, principal: Principal, version: ModelVersion, policy: RolloutPolicy) -> Approval:
        """Run the automated gates and ask for approval.

        Returns:
            The request: `pending`, or `gates_failed` with the reasons in its evidence. The same submission again gives the same request.
        """
        principal.require(PrincipalRole.SUBMITTER, PrincipalRole.OPERATOR)
        gathered = self._evidence.gather(version, principal.actor)
        now = self._clock.now()
        policy_digest = policy.content_digest()
        report = self._check(gathered, policy, policy_digest, now)
        evidence = {
            "facts": gathered.stable(),
            "champion": gathered.champion,
            "champion_metrics": gathered.champion_metrics,
            "gates": [result.document() for result in report.results],
            "policy": policy.metadata.name,
        }
        evidence_digest = digest(evidence)
        passed = report.verdict is Verdict.PASS
        approval = Approval(
            id=f"apr-{uuid.uuid4().hex[:12]}",
            model=version.model,
            version=version.version,
            status=ApprovalStatus.PENDING if passed else ApprovalStatus.GATES_FAILED,
            requested_by=principal.actor,
            requested_at=now,
            version_digest=gathered.version_digest,
            contract_digest=gathered.contract_digest,
            policy_digest=policy_digest,
            evidence_digest=evidence_digest,
            evidence=evidence,
            expires_at=now + self._valid_for,
        )
        facts = self._evidence.facts(gathered, policy, policy_digest=policy_digest, evidence_digest=evidence_digest)
        with self.store.database.begin() as connection:
            open_request = self._open_request(connection, approval)
            if open_request is not None:
                return open_request
            self._decisions.put_policy(connection, policy)
            self.store.insert(connection, approval)
            self._tell(connection, approval, "approval.submitted", principal.actor)
            self._record_gates(
                connection, version, _automated(policy.gates), facts, report, policy_digest, principal.actor, now
            )
            if passed and version.stage is Stage.DEVELOPMENT:
                self._stages.record(connection, version, Stage.STAGING, actor=principal.actor)
        if passed and version.stage is Stage.DEVELOPMENT:
            self._stages.set_aliases(version, Stage.STAGING)
        return approval

    def approve(self, principal: Principal, approval_id: str, comment: str = "") -> Approval:
        """Answer yes.

        Raises:
            Refused: the principal may not approve this version, or what was submitted has changed or expired; the attempt is audited.
            Conflict: the request was answered already.
        """
        return self._answer(principal, approval_id, comment, approve=True)

    def refuse(self, principal: Principal, approval_id: str, comment: str = "") -> Approval:
        """Answer no. A version that one reviewer refused passes no gate while that answer counts."""
        return self._answer(principal, approval_id, comment, approve=False)

    def gate(
        self, version: ModelVersion, policy: RolloutPolicy, *, actor: str
    ) -> tuple[GateReport, DecisionRecord, tuple[ApprovalRef, ...]]:
        """Check every gate of a policy, approvals included, and record it.

        Returns:
            The report, its record, and the approvals that count.
        """
        now = self._clock.now()
        policy_digest = policy.content_digest()
        with self.store.database.read() as connection:
            requests = self.store.of_version(connection, version.model, version.version)
        answered = [item for item in requests if item.verdict is not None]
        latest = next((item for item in reversed(answered) if item.policy_digest == policy_digest), None)
        submitter = (latest or requests[-1]).requested_by if requests else version.submitted_by
        gathered = self._evidence.gather(version, submitter)
        facts = self._evidence.facts(
            gathered,
            policy,
            policy_digest=policy_digest,
            evidence_digest=_current_evidence(gathered, latest),
            approvals=tuple(_fact(item) for item in answered),
        )
        report = check_gates(policy.gates, facts, now)
        with self.store.database.begin() as connection:
            self._decisions.put_policy(connection, policy)
            record = self._record_gates(connection, version, policy.gates, facts, report, policy_digest, actor, now)
        counted = [item for item in answered if _counts(item, facts, now)]
        references = {
            str(item.decided_by): ApprovalRef(
                id=item.id, principal=str(item.decided_by), digest=digest(item.bound.document())
            )
            for item in counted
            if item.verdict == "approve"
        }
        return report, record, tuple(references.values())

    def _check(self, gathered: Gathered, policy: RolloutPolicy, policy_digest: str, at: datetime) -> GateReport:
        facts = self._evidence.facts(
            gathered, policy, policy_digest=policy_digest, evidence_digest=digest(gathered.stable())
        )
        return check_gates(_automated(policy.gates), facts, at)

    def _answer(self, principal: Principal, approval_id: str, comment: str, *, approve: bool) -> Approval:
        request = self.store.get(approval_id)
        version = self._versions.get(request.model, request.version)
        now = self._clock.now()
        objection = _may_answer(principal)
        if objection is not None:
            raise self._refused(principal, request, objection)
        if request.status is not ApprovalStatus.PENDING and not (
            approve and request.status is ApprovalStatus.APPROVED and request.decided_by != principal.actor
        ):
            raise Conflict(
                f"approval {request.id} is {request.status.value}", field="id", remedy="submit the version again"
            )
        gathered = self._evidence.gather(version, request.requested_by)
        policy = self._stored_policy(request)
        fact = ApprovalFact(id=request.id, principal=principal, bound=request.bound, at=now, expires=request.expires_at)
        facts = self._evidence.facts(
            gathered,
            policy,
            policy_digest=self._stored_policy_digest(request),
            evidence_digest=_current_evidence(gathered, request),
            approvals=(fact,),
        )
        result = check_gates(_ONE_APPROVAL, facts, now).results[-1]
        if not result.passed:
            self._close(request, now)
            raise self._refused(principal, request, result.reason)
        return self._write_answer(principal, request, version, facts, now, comment, approve=approve)

    def _write_answer(
        self,
        principal: Principal,
        request: Approval,
        version: ModelVersion,
        facts: GateFacts,
        now: datetime,
        comment: str,
        *,
        approve: bool,
    ) -> Approval:
        status = ApprovalStatus.APPROVED if approve else ApprovalStatus.REFUSED
        answered = request.model_copy(
            update={
                "status": status,
                "decided_by": principal.actor,
                "decided_at": now,
                "verdict": "approve" if approve else "refuse",
                "comment": comment,
            }
        )
        with self.store.database.begin() as connection:
            if request.status is ApprovalStatus.APPROVED:
                # a further reviewer of the same submission
                answered = answered.model_copy(update={"id": f"{request.id}-{uuid.uuid4().hex[:4]}"})
                self.store.insert(connection, answered)
            elif not self.store.update(connection, answered, was=ApprovalStatus.PENDING):
                raise Conflict(f"approval {request.id} was answered meanwhile", field="id", remedy="read it again")
            answer = facts.approvals[0].model_copy(update={"answer": answered.verdict})
            self._decisions.record(
                connection,
                kind=ANSWER,
                subject=version.subject,
                inputs={"facts": facts.model_copy(update={"approvals": (answer,)}).document()},
                verdict=Verdict.PASS if approve else Verdict.FAIL,
                actor=principal.actor,
                policy=request.policy_digest,
                reasons=({"approval": answered.id, "answer": answered.verdict, "comment": comment},),
            )
            self._tell(connection, answered, "approval.answered", principal.actor)
        return answered

    def _refused(self, principal: Principal, request: Approval, reason: str) -> Refused:
        self._audit.record(
            actor=principal.actor,
            action="approval.answer",
            subject=f"model/{request.model}@{request.version}",
            outcome="refused",
            data={"approval": request.id, "reason": reason},
        )
        return Refused(
            f"approval {request.id} of {request.model}@{request.version}: {reason}",
            remedy="a person with the role approver who had no part in the version must approve what was submitted",
            field="id",
        )

    def _close(self, request: Approval, now: datetime) -> None:
        """A request that expired or whose bindings changed is closed, so that nobody waits for it."""
        if request.expires_at <= now:
            status = ApprovalStatus.EXPIRED
        elif self._is_void(request):
            status = ApprovalStatus.VOID
        else:
            return
        with self.store.database.begin() as connection:
            self.store.update(connection, request.model_copy(update={"status": status}), was=request.status)

    def _is_void(self, request: Approval) -> bool:
        gathered = self._evidence.gather(self._versions.get(request.model, request.version), request.requested_by)
        return (
            gathered.version_digest != request.version_digest
            or gathered.contract_digest != request.contract_digest
            or self._stored_policy_digest(request) != request.policy_digest
            or _current_evidence(gathered, request) != request.evidence_digest
        )

    def _stored_policy(self, request: Approval) -> RolloutPolicy:
        document = self._decisions.policy_document(request.policy_digest)
        if document is None:
            raise NotFound(f"policy {request.policy_digest} is not stored", field="policy", remedy="submit again")
        return RolloutPolicy.model_validate(document)

    def _stored_policy_digest(self, request: Approval) -> str:
        """The digest of what is stored under the policy's digest: another one when somebody edited it."""
        document = self._decisions.policy_document(request.policy_digest)
        return "sha256:" + "0" * 64 if document is None else digest(document)

    def _open_request(self, connection: Connection, approval: Approval) -> Approval | None:
        for item in self.store.of_version(connection, approval.model, approval.version):
            same = item.bound == approval.bound and item.requested_by == approval.requested_by
            if (
                same
                and item.status in {ApprovalStatus.PENDING, ApprovalStatus.APPROVED}
                and item.expires_at > approval.requested_at
            ):
                return item
        return None

    def _record_gates(
        self,
        connection: Connection,
        version: ModelVersion,
        gates: GatePolicy,
        facts: GateFacts,
        report: GateReport,
        policy_digest: str,
        actor: str,
        at: datetime,
    ) -> DecisionRecord:
        return self._decisions.record(
            connection,
            kind=GATE,
            subject=version.subject,
            inputs={"facts": facts.document(), "gates": gates.document(), "at": format_time(at)},
            verdict=report.verdict,
            actor=actor,
            policy=policy_digest,
            reasons=tuple(result.document() for result in report.results),
        )

    def _tell(self, connection: Connection, approval: Approval, kind: str, actor: str) -> None:
        data = {
            "approval": approval.id,
            "status": approval.status.value,
            "version_digest": approval.version_digest,
            "policy_digest": approval.policy_digest,
            "evidence_digest": approval.evidence_digest,
        }
        subject = f"model/{approval.model}@{approval.version}"
        append_event(connection, kind=kind, subject=subject, actor=actor, data=data, at=self._clock.now())
        self._audit.append(connection, actor=actor, action=kind, subject=subject, data=data)


def replay_gate(record: DecisionRecord, context: ReplayContext) -> Verdict:
    """Check the gates of a record again."""
    facts = GateFacts.model_validate(record.inputs["facts"])
    return check_gates(
        GatePolicy.model_validate(record.inputs["gates"]), facts, datetime.fromisoformat(record.inputs["at"])
    ).verdict


def replay_answer(record: DecisionRecord, context: ReplayContext) -> Verdict:
    """Check again that a reviewer's answer counted."""
    facts = GateFacts.model_validate(record.inputs["facts"])
    return check_gates(_ONE_APPROVAL, facts, facts.approvals[0].at).verdict


def _may_answer(principal: Principal) -> str | None:
    if principal.kind != "human":
        return f"{principal.actor} is no person"
    if PrincipalRole.APPROVER not in principal.roles:
        return f"{principal.actor} lacks the role approver"
    return None


def _fact(approval: Approval) -> ApprovalFact:
    kind, _, name = str(approval.decided_by).partition(":")
    return ApprovalFact.model_validate(
        {
            "id": approval.id,
            # an answer was only written for a principal that had the role then
            "principal": {"name": name, "kind": kind, "roles": [PrincipalRole.APPROVER.value]},
            "bound": approval.bound,
            "at": approval.decided_at,
            "expires": approval.expires_at,
            "answer": approval.verdict,
            "withdrawn": approval.status in {ApprovalStatus.VOID, ApprovalStatus.EXPIRED},
        }
    )


def _counts(approval: Approval, facts: GateFacts, at: datetime) -> bool:
    fact = _fact(approval).model_copy(update={"answer": "approve"})
    return check_gates(_ONE_APPROVAL, facts.model_copy(update={"approvals": (fact,)}), at).results[-1].passed


def _current_evidence(gathered: Gathered, request: Approval | None) -> str:
    """The digest of the evidence as it stands: the request's when nothing that it was bound to has changed."""
    if (
        request is not None
        and digest(request.evidence) == request.evidence_digest
        and request.evidence.get("facts") == gathered.stable()
    ):
        return request.evidence_digest
    return digest(gathered.stable())


def _automated(gates: GatePolicy) -> GatePolicy:
    return gates.model_copy(update={"approvals": 0})
