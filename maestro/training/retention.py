"""Clean-up: completed jobs after 90 days, failed and cancelled after 30, log lines after 7. What they cost and what they published stays elsewhere."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select, update

from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.clients.database.schema.training import ai_training_logs as logs
from maestro.core.jobs import JobStatus
from maestro.core.model import Model
from maestro.core.principals import Principal, PrincipalRole
from maestro.training.store import JobStore

KEEP_DAYS: dict[JobStatus, int] = {JobStatus.COMPLETED: 90, JobStatus.FAILED: 30, JobStatus.CANCELLED: 30}
LOG_DAYS = 7
_BATCH = 1000


class Cleaned(Model):
    """How many rows were removed."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    log_lines: int = 0


def clean_jobs(store: JobStore, status: JobStatus) -> int:
    """Remove the jobs of a final state that are past their days, with their log lines; returns how many."""
    before = store.clock.now() - timedelta(days=KEEP_DAYS[status])
    removed = 0
    while True:
        with store.database.begin() as connection:
            old = select(jobs.c.id).where(jobs.c.status == status, jobs.c.finished_at < before).limit(_BATCH)
            ids = list(connection.execute(old).scalars())
            if not ids:
                return removed
            # a younger retry keeps its own row and loses the link
            connection.execute(update(jobs).where(jobs.c.retry_of.in_(ids)).values(retry_of=None))
            connection.execute(delete(logs).where(logs.c.job_id.in_(ids)))
            removed += connection.execute(delete(jobs).where(jobs.c.id.in_(ids))).rowcount


def clean_logs(store: JobStore) -> int:
    """Remove log lines past their days; returns how many."""
    with store.database.begin() as connection:
        return connection.execute(delete(logs).where(logs.c.at < store.clock.now() - timedelta(days=LOG_DAYS))).rowcount


def clean_up(store: JobStore, by: Principal) -> Cleaned:
    """Everything that is past its days, recorded in the audit log.

    Raises:
        Refused: the principal is not an operator.
    """
    by.require(PrincipalRole.OPERATOR)
    counts = {str(status): clean_jobs(store, status) for status in KEEP_DAYS}
    cleaned = Cleaned(log_lines=clean_logs(store), **counts)
    with store.database.begin() as connection:
        store.audit.append(
            connection,
            actor=by.actor,
            action="jobs.clean",
            subject="job/retention",
            outcome="done",
            data=cleaned.document(),
        )
    return cleaned
