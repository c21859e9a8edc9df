"""Training jobs in the database: submit, read, cancel, retry; what workers do with them is in `leases.py`."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, select, union_all, update
from sqlalchemy.exc import IntegrityError

from maestro.clients.database import Database
from maestro.clients.database.outbox import append_event
from maestro.clients.database.schema.training import ai_training_job_counts as counts
from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.clients.database.schema.training import ai_training_logs as logs
from maestro.core.clock import Clock
from maestro.core.errors import BadInput, Conflict, NotFound, TooManyRequests
from maestro.core.jobs import JobRequest, JobStatus, Priority, check_transition
from maestro.core.model import Model
from maestro.core.principals import Principal, PrincipalRole
from maestro.observability.tracing import trace_id, traceparent
from maestro.training.job import Job, LogLine


class Audit(Protocol):
    """Where mutations are recorded (`maestro.security.audit.AuditLog`).

    Obligations: writes in the caller's transaction, so that the entry stands exactly when the change does.
    """

    def append(
        self, connection: Connection, *, actor: str, action: str, subject: str, outcome: str, data: dict[str, Any]
    ) -> object:
        """Add one entry."""
        ...


class JobFilter(Model):
    """Which jobs to list; None is any."""

    tenant_id: str | None = None
    status: JobStatus | None = None
    model_type: str | None = None
    priority: Priority | None = None


class JobStore:
    """The jobs of one database. Thread-safe; every method is one transaction.

    Args:
        database: the platform database.
        clock: dates everything.
        audit: records every mutation.
        max_queued: jobs that a tenant may have waiting.
    """

    def __init__(self, database: Database, clock: Clock, audit: Audit, *, max_queued: int = 100_000) -> None:
        self.database = database
        self.clock = clock
        self.audit = audit
        self.max_queued = max_queued

    def submit(
        self, request: JobRequest, by: Principal, idempotency_key: str | None = None, *, retry_of: str | None = None
    ) -> Job:
        """Accept a job into the queue. The same key with the same request gives the job that it gave before.

        Raises:
            Refused: the principal may not submit.
            NotFound: the tenant is not one of the principal's.
            Conflict: the key was used for another request.
            TooManyRequests: the tenant has too many jobs waiting.
        """
        by.require(PrincipalRole.SUBMITTER)
        require_tenant(by, request.tenant_id)
        digest = request.content_digest()
        now = self.clock.now()
        job_id = f"job-{uuid.uuid4().hex[:20]}"
        try:
            with self.database.begin() as connection:
                if idempotency_key is not None and (
                    known := self._by_key(connection, request.tenant_id, idempotency_key, digest)
                ):
                    return known
                self._require_room(connection, request.tenant_id)
                connection.execute(
                    jobs.insert().values(
                        id=job_id, tenant_id=request.tenant_id, name=request.name, model_type=request.model_type,
                        priority=request.priority, priority_rank=request.priority.rank, backend=request.backend,
                        status=JobStatus.QUEUED, request=request.document(), request_digest=digest,
                        idempotency_key=idempotency_key, submitted_by=by.actor, retry_of=retry_of, created_at=now,
                        message="queued", traceparent=traceparent(),
                    )
                )  # fmt: skip
                data = {
                    "job_id": job_id,
                    "tenant_id": request.tenant_id,
                    "priority": request.priority,
                    "request": digest,
                }
                if retry_of:
                    data["retry_of"] = retry_of
                self.record(connection, "job.queued", job_id, by.actor, data)
                return self.read(connection, job_id)
        except IntegrityError:
            # the same key arrived twice at once: whoever was first decides
            with self.database.read() as connection:
                known = self._by_key(connection, request.tenant_id, idempotency_key or "", digest)
            if known is None:
                raise
            return known

    def get(self, job_id: str, by: Principal) -> Job:
        """One job.

        Raises:
            NotFound: there is none of this id, or it belongs to a tenant that is not the principal's.
        """
        with self.database.read() as connection:
            return self._visible(connection, job_id, by)

    def page(self, which: JobFilter, by: Principal, *, page: int = 1, page_size: int = 50) -> tuple[list[Job], int]:
        """A page of jobs, newest first, and how many there are in all."""
        by.require(PrincipalRole.VIEWER, PrincipalRole.APPROVER)
        with self.database.read() as connection:
            total = connection.execute(
                select(func.coalesce(func.sum(counts.c.jobs), 0)).where(
                    *tenancy(by, counts.c.tenant_id), *(counts.c[name] == value for name, value in which.document().items())
                )
            ).scalar_one()  # fmt: skip
            if total <= (page - 1) * page_size:
                return [], int(total)
            rows = connection.execute(page_query(which, by.tenants, page=page, page_size=page_size)).mappings()
            return [job_of(row) for row in rows], int(total)

    def cancel(self, job_id: str, by: Principal) -> Job:
        """Cancel: a queued job at once, a running one as soon as its worker has stopped it.

        Raises:
            NotFound: no such job.
            Conflict: it has ended.
            Refused: the principal may not.
        """
        by.require(PrincipalRole.SUBMITTER)
        now = self.clock.now()
        with self.database.begin() as connection:
            job = self._visible(connection, job_id, by)
            check_transition(job.status, JobStatus.CANCELLED, job_id)
            changed = connection.execute(
                update(jobs).where(jobs.c.id == job_id, jobs.c.status == JobStatus.QUEUED)
                .values(status=JobStatus.CANCELLED, finished_at=now, message="cancelled before it started", cancel_requested=1)
            ).rowcount  # fmt: skip
            if changed:
                self.record(
                    connection, "job.cancelled", job_id, by.actor, {"job_id": job_id, "tenant_id": job.tenant_id}
                )
                return self.read(connection, job_id)
            changed = connection.execute(
                update(jobs).where(jobs.c.id == job_id, jobs.c.status == JobStatus.RUNNING)
                .values(cancel_requested=1, message="stopping: cancelled by its owner")
            ).rowcount  # fmt: skip
            if not changed:
                raise Conflict(f"job {job_id} has just ended", field="status", remedy="read the job again")
            self.audit.append(
                connection, actor=by.actor, action="job.cancel", subject=f"job/{job_id}", outcome="accepted", data={}
            )
            return self.read(connection, job_id)

    def retry(self, job_id: str, by: Principal, idempotency_key: str | None = None) -> Job:
        """Queue a failed or cancelled job again, with its configuration, linked to it.

        Raises:
            NotFound: no such job.
            Conflict: it has not ended, or it completed.
            Refused: the principal may not.
        """
        by.require(PrincipalRole.SUBMITTER)
        original = self.get(job_id, by)
        if original.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
            raise Conflict(
                f"job {job_id} is {original.status}; only a failed or cancelled job can be retried",
                field="status", remedy="submit a new job, or cancel it first",
            )  # fmt: skip
        return self.submit(original.request, by, idempotency_key, retry_of=original.id)

    def logs(
        self, job_id: str, by: Principal, *, after: int = 0, level: str | None = None, limit: int = 200
    ) -> Sequence[LogLine]:
        """Lines of a job's log with a sequence number above `after`, oldest first."""
        with self.database.read() as connection:
            self._visible(connection, job_id, by)
            query = select(logs).where(logs.c.job_id == job_id, logs.c.seq > after).order_by(logs.c.seq).limit(limit)
            if level is not None:
                query = query.where(logs.c.level == level)
            return [
                LogLine(
                    seq=row["seq"], attempt=row["attempt"], at=row["at"], level=row["level"], message=row["message"]
                )
                for row in connection.execute(query).mappings()
            ]

    def read(self, connection: Connection, job_id: str) -> Job:
        """One job inside the caller's transaction.

        Raises:
            NotFound: no such job.
        """
        row = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().first()
        if row is None:
            raise NotFound(f"job {job_id!r} does not exist", field="job_id", remedy="list the jobs to see their ids")
        return job_of(row)

    def record(self, connection: Connection, kind: str, job_id: str, actor: str, data: dict[str, Any]) -> None:
        """One event and one audit entry in the caller's transaction."""
        subject = f"job/{job_id}"
        append_event(
            connection, kind=kind, subject=subject, actor=actor, data=data, at=self.clock.now(), trace=trace_id()
        )
        outcome = {"job.failed": "failed", "job.requeued": "failed"}.get(kind, "done")
        self.audit.append(connection, actor=actor, action=kind, subject=subject, outcome=outcome, data=_auditable(data))

    def _require_room(self, connection: Connection, tenant: str) -> None:
        waiting = connection.execute(
            select(func.coalesce(func.sum(counts.c.jobs), 0)).where(
                counts.c.tenant_id == tenant, counts.c.status == JobStatus.QUEUED
            )
        ).scalar_one()
        if waiting >= self.max_queued:
            raise TooManyRequests(
                f"tenant {tenant!r} has {waiting} jobs waiting, the most there may be",
                field="tenant_id", remedy="wait until some have started, or cancel some", retry_after=60,
            )  # fmt: skip

    def _visible(self, connection: Connection, job_id: str, by: Principal) -> Job:
        by.require(PrincipalRole.VIEWER, PrincipalRole.APPROVER)
        job = self.read(connection, job_id)
        if not by.may_see(job.tenant_id):
            raise NotFound(f"job {job_id!r} does not exist", field="job_id", remedy="list the jobs to see their ids")
        return job

    def _by_key(self, connection: Connection, tenant: str, key: str, digest: str) -> Job | None:
        row = connection.execute(
            select(jobs).where(jobs.c.tenant_id == tenant, jobs.c.idempotency_key == key)
        ).mappings().first()  # fmt: skip
        if row is None:
            return None
        if row["request_digest"] != digest:
            raise Conflict(
                f"Idempotency-Key {key!r} was used for another request (job {row['id']})",
                field="Idempotency-Key", remedy="use a new key for a new request",
            )  # fmt: skip
        return job_of(row)


def tenancy(by: Principal, column: ColumnElement[str]) -> list[ColumnElement[bool]]:
    """The condition under which `by` may see a row; empty for one who sees every tenant."""
    return [column.in_(by.tenants)] if by.tenants else []


def require_tenant(by: Principal, tenant: str) -> None:
    """Refuse a tenant that is not one of the principal's.

    Raises:
        NotFound: it is not.
    """
    if not by.may_see(tenant):
        raise NotFound(
            f"tenant {tenant!r} is not yours", field="tenant_id", remedy=f"use one of {', '.join(by.tenants)}"
        )


def page_query(which: JobFilter, tenants: Sequence[str], *, page: int, page_size: int) -> Select[Any]:
    """The rows of a page, newest first. The rows before it are passed in an index alone; of several tenants each brings its own newest."""
    newest = (jobs.c.created_at.desc(), jobs.c.id.desc())
    where = [jobs.c[name] == value for name, value in which.document().items()]
    allowed = sorted({which.tenant_id} & set(tenants) if which.tenant_id and tenants else set(tenants))
    first, keys = (page - 1) * page_size, select(jobs.c.id, jobs.c.created_at)
    if len(allowed) <= 1 or which.tenant_id is not None:
        if tenants:
            where.append(jobs.c.tenant_id == (allowed[0] if allowed else ""))
        found = keys.where(*where).order_by(*newest).limit(page_size).offset(first).subquery()
    else:
        each = [
            select(keys.where(*where, jobs.c.tenant_id == tenant).order_by(*newest).limit(first + page_size).subquery())
            for tenant in allowed
        ]
        both = union_all(*each).subquery()
        found = (
            select(both.c.id).order_by(both.c.created_at.desc(), both.c.id.desc()).limit(page_size).offset(first).subquery()
        )  # fmt: skip
    return select(jobs).join(found, jobs.c.id == found.c.id).order_by(*newest)


def job_of(row: RowMapping) -> Job:
    """A row as a job."""
    values = {name: row[name] for name in Job.model_fields}
    values["request"] = JobRequest.model_validate(row["request"])
    values["cancel_requested"] = bool(row["cancel_requested"])
    return Job(**values)


def check_key(key: str | None) -> str | None:
    """An `Idempotency-Key` as it may be stored.

    Raises:
        BadInput: it is empty, too long or holds other than printable ASCII.
    """
    if key is None:
        return None
    if not (0 < len(key) <= 256 and key.isascii() and key.isprintable()):
        raise BadInput(
            "Idempotency-Key must be 1 to 256 printable ASCII characters", field="Idempotency-Key", remedy="send a UUID"
        )
    return key


def _auditable(data: dict[str, Any]) -> dict[str, Any]:
    # the chain's canonical JSON has no NaN and no integer beyond 2**53: metrics stay in the event
    return {key: value for key, value in data.items() if isinstance(value, (str, int, bool)) or value is None}
