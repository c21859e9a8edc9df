"""`decisions` and `policies`: what was decided, and by which rules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, func, select, text

from maestro.clients.database import Database
from maestro.clients.database.outbox import append_event
from maestro.clients.database.schema.governance import decisions, policies
from maestro.core.canonical import digest
from maestro.core.clock import Clock
from maestro.core.decision import DecisionRecord, Subject, Verdict
from maestro.core.errors import NotFound, Refused
from maestro.core.model import Model
from maestro.core.policy import RolloutPolicy
from maestro.governance.decisions.code import code_identity
from maestro.governance.decisions.cost import version_cost
from maestro.security.audit import AuditLog

_LOCK = 0x6D61657374726F  # a constant of this log, for PostgreSQL's advisory lock

Document = TypeVar("Document", bound=Model)


class DecisionStore:
    """The one chain of decisions of a platform.

    A record, its audit entry and its event are written in the caller's transaction: all or none. Appends are serialised, so that
    the chain has no forks.
    """

    def __init__(self, database: Database, clock: Clock, audit: AuditLog) -> None:
        self.database = database
        self.clock = clock
        self._audit = audit

    def append(
        self,
        connection: Connection,
        build: Callable[[str | None, datetime], DecisionRecord],
        *,
        rollout_id: str | None = None,
        describe: Callable[[DecisionRecord], tuple[str, dict[str, Any]]] | None = None,
    ) -> DecisionRecord:
        """Append the record that `build(prev, now)` gives.

        Args:
            connection: the caller's transaction.
            build: makes the record, given the id of the newest one and the time.
            rollout_id: the rollout it belongs to.
            describe: kind and further members of the event that tells of it; `decision.made` when None.
        """
        self._serialise(connection)
        prev = connection.execute(select(decisions.c.id).order_by(decisions.c.seq.desc()).limit(1)).scalar_one_or_none()
        record = build(prev, self.clock.now())
        connection.execute(
            decisions.insert().values(
                id=record.id,
                kind=record.kind,
                at=record.at,
                model=record.subject.model,
                version=record.subject.version,
                rollout_id=rollout_id,
                verdict=record.verdict.value,
                record=record.document(),
            )
        )
        subject = f"model/{record.subject.model}@{record.subject.version}"
        event, data = describe(record) if describe is not None else ("decision.made", {})
        append_event(
            connection,
            kind=event,
            subject=subject,
            actor=record.actor,
            data={"decision": record.id, "kind": record.kind, "verdict": record.verdict.value, **data},
            at=record.at,
        )
        # last: from here on every transaction that appends to the audit log waits for this one
        self._audit.append(
            connection,
            actor=record.actor,
            action=f"decision.{record.kind}",
            subject=subject,
            data={
                "decision": record.id,
                "verdict": record.verdict.value,
                **({"rollout": rollout_id} if rollout_id else {}),
            },
            decision=True,
        )
        return record

    def record(
        self,
        connection: Connection,
        *,
        kind: str,
        subject: Subject,
        inputs: dict[str, Any],
        verdict: Verdict,
        actor: str,
        policy: str | None = None,
        reasons: tuple[dict[str, Any], ...] = (),
        state: dict[str, Any] | None = None,
        rollout_id: str | None = None,
        event: str = "decision.made",
        data: dict[str, Any] | None = None,
    ) -> DecisionRecord:
        """Seal and append a decision, with the cost of its version so far."""

        def build(prev: str | None, at: datetime) -> DecisionRecord:
            return DecisionRecord.seal(
                kind=kind,
                at=at,
                subject=subject,
                policy=policy,
                code=code_identity(),
                inputs=inputs,
                verdict=verdict,
                reasons=reasons,
                state=state or {},
                actor=actor,
                cost_usd_micros=version_cost(connection, subject.model, subject.version),
                prev=prev,
            )

        return self.append(connection, build, rollout_id=rollout_id, describe=lambda _: (event, data or {}))

    def get(self, decision_id: str) -> DecisionRecord:
        """One record.

        Raises:
            NotFound: there is none of that id.
        """
        with self.database.read() as connection:
            found = connection.execute(
                select(decisions.c.record).where(decisions.c.id == decision_id)
            ).scalar_one_or_none()
        if found is None:
            raise NotFound(
                f"decision {decision_id} does not exist", field="id", remedy="list them: maestro decisions list"
            )
        return DecisionRecord.model_validate(found)

    def find(self, prefix: str) -> DecisionRecord:
        """The record whose id starts with `prefix`, with or without `sha256:`.

        Raises:
            NotFound: there is none, or more than one.
        """
        start = prefix if prefix.startswith("sha256:") else f"sha256:{prefix}"
        with self.database.read() as connection:
            found = (
                connection.execute(
                    select(decisions.c.record).where(decisions.c.id.startswith(start, autoescape=True)).limit(2)
                )
                .scalars()
                .all()
            )
        if len(found) != 1:
            what = "several decisions start" if found else "no decision starts"
            raise NotFound(f"{what} with {prefix}", field="id", remedy="give more digits: maestro decisions list")
        return DecisionRecord.model_validate(found[0])

    def of_rollout(self, rollout_id: str) -> list[DecisionRecord]:
        """The records of a rollout in the order they were appended."""
        query = select(decisions.c.record).where(decisions.c.rollout_id == rollout_id).order_by(decisions.c.seq)
        with self.database.read() as connection:
            rows = connection.execute(query).scalars().all()
        return [DecisionRecord.model_validate(row) for row in rows]

    def chain(self) -> list[DecisionRecord]:
        """Every record in the order it was appended."""
        with self.database.read() as connection:
            rows = connection.execute(select(decisions.c.record).order_by(decisions.c.seq)).scalars().all()
        return [DecisionRecord.model_validate(row) for row in rows]

    def list(
        self,
        *,
        model: str | None = None,
        version: str | None = None,
        rollout_id: str | None = None,
        kind: str | None = None,
        page: int = 1,
        page_size: int = 50,
    ) -> tuple[list[DecisionRecord], int]:
        """A page of records, newest first, and how many there are."""
        filters = [
            column == value
            for column, value in (
                (decisions.c.model, model),
                (decisions.c.version, version),
                (decisions.c.rollout_id, rollout_id),
                (decisions.c.kind, kind),
            )
            if value is not None
        ]
        with self.database.read() as connection:
            total = connection.execute(select(func.count()).select_from(decisions).where(*filters)).scalar_one()
            rows = (
                connection.execute(
                    select(decisions.c.record)
                    .where(*filters)
                    .order_by(decisions.c.seq.desc())
                    .limit(page_size)
                    .offset((page - 1) * page_size)
                )
                .scalars()
                .all()
            )
        return [DecisionRecord.model_validate(row) for row in rows], total

    def put_policy(self, connection: Connection, policy: RolloutPolicy) -> str:
        """Keep a policy under its digest, which is returned; repeating it changes nothing.

        Raises:
            Refused: what is kept under that digest was edited.
        """
        identity = policy.content_digest()
        self._serialise(connection)
        known = connection.execute(
            select(policies.c.document).where(policies.c.digest == identity)
        ).scalar_one_or_none()
        if known is not None and digest(known) != identity:
            raise Refused(
                f"policy {policy.metadata.name} ({identity}) was edited in the database",
                field="policy",
                remedy="restore the row, then submit the version again; see maestro audit verify",
            )
        if known is None:
            connection.execute(
                policies.insert().values(
                    digest=identity, kind=policy.kind, document=policy.document(), created_at=self.clock.now()
                )
            )
        return identity

    def policy(self, identity: str) -> RolloutPolicy:
        """The rollout policy of a digest.

        Raises:
            NotFound: it was never stored, or what is stored is not it (somebody edited it).
        """
        document = self.policy_document(identity)
        policy = RolloutPolicy.model_validate(document) if document is not None else None
        if policy is None or policy.content_digest() != identity:
            what = "was never stored" if policy is None else "was edited in the database"
            raise NotFound(
                f"policy {identity} {what}", field="policy", remedy="submit the version again with its policy"
            )
        return policy

    def policy_document(self, identity: str) -> dict[str, Any] | None:
        """What is stored under a digest, unchecked."""
        with self.database.read() as connection:
            found = connection.execute(
                select(policies.c.document).where(policies.c.digest == identity)
            ).scalar_one_or_none()
        return None if found is None else dict(found)

    def _serialise(self, connection: Connection) -> None:
        # SQLite's transactions hold the one write lock from their start.
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
