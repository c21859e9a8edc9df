"""Clean-up: completed jobs after 90 days, failed and cancelled after 30, log lines after 7. What they cost and what they published stays elsewhere."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from sqlalchemy import delete, select, text, update

from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.clients.database.schema.training import ai_training_logs as logs
from maestro.core.errors import MaestroError
from maestro.core.jobs import JobStatus
from maestro.core.model import Model
from maestro.core.principals import SYSTEM, Principal, PrincipalRole
from maestro.training.store import JobStore

KEEP_DAYS: dict[JobStatus, int] = {JobStatus.COMPLETED: 90, JobStatus.FAILED: 30, JobStatus.CANCELLED: 30}
LOG_DAYS = 7
_BATCH = 1000
_LOCK = 0x6D61657374726F03  # two clean-ups at once would wait for each other's rows

log = logging.getLogger(__name__)


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
            if not store.database.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
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
    before = store.clock.now() - timedelta(days=LOG_DAYS)
    removed = 0
    while True:
        with store.database.begin() as connection:
            old = select(logs.c.seq).where(logs.c.at < before).limit(_BATCH * 10)
            found = connection.execute(delete(logs).where(logs.c.seq.in_(old))).rowcount
        removed += found
        if found == 0:
            return removed


def clean_up(store: JobStore, by: Principal) -> Cleaned:
    """Everything that is past its days, recorded in the audit log.

    Raises:
        Refused: the principal is not an operator.
    """
    by.require(PrincipalRole.OPERATOR)
    counts = {str(status): clean_jobs(store, status) for status in KEEP_DAYS}
    cleaned = Cleaned(log_lines=clean_logs(store), **counts)
    if by == SYSTEM and not any(cleaned.document().values()):
        return cleaned
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


class Retention:
    """Cleans up once at its start and then at intervals, in a worker.

    Args:
        store: the jobs.
        every_s: seconds between two clean-ups.
    """

    def __init__(self, store: JobStore, every_s: float) -> None:
        self._store = store
        self._every_s = every_s

    def run(self, stop: threading.Event) -> None:
        """Clean up until `stop` is set; a database that is away is tried again at the next turn."""
        while not stop.is_set():
            try:
                cleaned = clean_up(self._store, SYSTEM)
                log.info("cleaned up: %s", cleaned.document())
            except MaestroError as error:
                log.warning("clean-up waits: %s", error.detail)
            stop.wait(self._every_s)
