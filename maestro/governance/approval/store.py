"""`approvals`: what was asked of reviewers, what it was bound to, and what they answered."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select, update

from maestro.clients.database import Database
from maestro.clients.database.schema.governance import approvals
from maestro.core.errors import NotFound
from maestro.core.model import Digest, Model, Time
from maestro.decisions.gates import Bound


class ApprovalStatus(StrEnum):
    """Where a request stands."""

    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"
    GATES_FAILED = "gates_failed"
    EXPIRED = "expired"
    VOID = "void"


class Approval(Model):
    """A request for approval and its answer."""

    id: str
    model: str
    version: str
    status: ApprovalStatus
    requested_by: str
    requested_at: Time
    decided_by: str | None = None
    decided_at: Time | None = None
    verdict: str | None = None
    comment: str | None = None
    version_digest: Digest
    contract_digest: Digest
    policy_digest: Digest
    evidence_digest: Digest
    evidence: dict[str, Any]
    expires_at: Time

    @property
    def bound(self) -> Bound:
        """What the answer is about."""
        return Bound(
            version=self.version_digest,
            contract=self.contract_digest,
            policy=self.policy_digest,
            evidence=self.evidence_digest,
        )


class ApprovalStore:
    """Reads and writes the rows of approvals."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def insert(self, connection: Connection, approval: Approval) -> None:
        """Add a row in the caller's transaction."""
        values = {name: getattr(approval, name) for name in Approval.model_fields}
        connection.execute(approvals.insert().values(**values | {"status": approval.status.value}))

    def update(self, connection: Connection, approval: Approval, *, was: ApprovalStatus) -> bool:
        """Write a row that stood at `was`; whether it still did."""
        values = {name: getattr(approval, name) for name in ("decided_by", "decided_at", "verdict", "comment")}
        result = connection.execute(
            update(approvals)
            .where(approvals.c.id == approval.id, approvals.c.status == was.value)
            .values(status=approval.status.value, **values)
        )
        return result.rowcount == 1

    def get(self, approval_id: str) -> Approval:
        """One request.

        Raises:
            NotFound: there is none of that id.
        """
        with self.database.read() as connection:
            row = connection.execute(select(approvals).where(approvals.c.id == approval_id)).mappings().one_or_none()
        if row is None:
            raise NotFound(
                f"approval {approval_id} does not exist", field="id", remedy="list them: maestro approval list"
            )
        return _approval(row)

    def of_version(self, connection: Connection, model: str, version: str) -> list[Approval]:
        """Every request about a version, oldest first."""
        rows = connection.execute(
            select(approvals)
            .where(approvals.c.model == model, approvals.c.version == version)
            .order_by(approvals.c.requested_at, approvals.c.id)
        ).mappings()
        return [_approval(row) for row in rows]

    def list(
        self,
        *,
        model: str | None = None,
        version: str | None = None,
        status: ApprovalStatus | None = None,
        page: int = 1,
        page_size: int = 50,
    ) -> tuple[list[Approval], int]:
        """A page of requests, newest first, and how many there are."""
        filters = [
            column == value
            for column, value in (
                (approvals.c.model, model),
                (approvals.c.version, version),
                (approvals.c.status, status.value if status is not None else None),
            )
            if value is not None
        ]
        with self.database.read() as connection:
            total = connection.execute(select(func.count()).select_from(approvals).where(*filters)).scalar_one()
            rows = connection.execute(
                select(approvals)
                .where(*filters)
                .order_by(approvals.c.requested_at.desc(), approvals.c.id)
                .limit(page_size)
                .offset((page - 1) * page_size)
            ).mappings()
            return [_approval(row) for row in rows], total


def _approval(row: RowMapping) -> Approval:
    return Approval.model_validate({name: row[name] for name in Approval.model_fields})
