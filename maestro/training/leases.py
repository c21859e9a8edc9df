"""Leases: a worker's right to run one attempt of a job, renewed by heartbeats, numbered by a fence.

Every write of an attempt is conditional on its fence being the job's newest, the job running, and the lease not run out. A worker that was stopped
for longer than its lease is therefore refused from the moment it continues, whether or not somebody else has taken the job; what it wrote in its own
attempt's folder and run is never published.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, select, text, update

from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.clients.database.schema.training import ai_training_logs
from maestro.core.errors import Fenced
from maestro.core.jobs import JobRequest, JobStatus
from maestro.core.rates import load_rates
from maestro.core.settings import TrainingSettings
from maestro.training.billing import bill_attempt
from maestro.training.claims import next_waiting
from maestro.training.job import Bill, Job, Lease, LogLine, Outcome
from maestro.training.publication import record_experiment
from maestro.training.search.store import STUDY, follow_job, record_trial
from maestro.training.store import JobStore

_CLAIM_LOCK = 0x6D61657374726F02  # one claim at a time, so that the limits hold; a claim takes milliseconds


class Leases:
    """What workers do with the jobs of one store. Thread-safe.

    Args:
        store: the jobs.
        options: limits and times.
    """

    def __init__(self, store: JobStore, options: TrainingSettings) -> None:
        self.store = store
        self.options = options
        self._database = store.database

    def claim(self, worker: str, backends: Sequence[str]) -> Lease | None:
        """Take the next job that may run: by priority, then by age, within the limits; None when there is none.

        Args:
            worker: who takes it.
            backends: the names of the backends that it can run.
        """
        now = self.store.clock.now()
        with self._database.begin() as connection:
            if not self._database.is_sqlite:
                # a worker that is stopped in the middle of a claim must not stop all others: the server ends its session
                connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '5s'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CLAIM_LOCK})
            row = next_waiting(connection, self.options, backends)
            if row is None:
                return None
            lease = Lease(
                job_id=row["id"], attempt=row["attempt"] + 1, lost=row["lost"], fence=row["fence"] + 1, worker=worker, started=now,
                expires=now + timedelta(seconds=self.options.lease_s), submitted_by=row["submitted_by"],
                request=JobRequest.model_validate(row["request"]), traceparent=row["traceparent"],
            )  # fmt: skip
            connection.execute(
                update(jobs).where(jobs.c.id == lease.job_id).values(
                    status=JobStatus.RUNNING, attempt=lease.attempt, fence=lease.fence, worker=worker,
                    lease_expires=lease.expires, started_at=now, progress=0.0, message="starting", error=None,
                )
            )  # fmt: skip
            self.store.record(connection, "job.started", lease.job_id, f"system:{worker}", _naming(lease))
            return lease

    def heartbeat(self, lease: Lease, *, progress: float | None = None, message: str | None = None) -> bool:
        """Renew the lease; returns whether the job's owner asked for it to be cancelled.

        Raises:
            Fenced: the lease is lost.
        """
        values: dict[str, Any] = {"lease_expires": self.store.clock.now() + timedelta(seconds=self.options.lease_s)}
        if progress is not None:
            values["progress"] = min(max(progress, 0.0), 1.0)
        with self._database.begin() as connection:
            if message is not None:
                values["message"] = message[:1000]
            self._write(connection, lease, values)
            return bool(
                connection.execute(select(jobs.c.cancel_requested).where(jobs.c.id == lease.job_id)).scalar_one()
            )

    def log(self, lease: Lease, lines: Sequence[LogLine]) -> None:
        """Add lines to the job's log.

        Raises:
            Fenced: the lease is lost.
        """
        if not lines:
            return
        with self._database.begin() as connection:
            self._write(connection, lease, {"worker": lease.worker})
            connection.execute(
                ai_training_logs.insert(),
                [
                    {
                        "job_id": lease.job_id,
                        "attempt": lease.attempt,
                        "at": line.at,
                        "level": line.level,
                        "message": line.message[:8000],
                    }
                    for line in lines
                ],
            )

    def trial(self, lease: Lease, fields: dict[str, Any]) -> None:
        """Record one finished trial of a study.

        Raises:
            Fenced: the lease is lost.
        """
        with self._database.begin() as connection:
            self._write(connection, lease, {"worker": lease.worker})
            record_trial(connection, lease.request, fields, self.store.clock.now())

    def complete(self, lease: Lease, outcome: Outcome, bill: Bill) -> Job:
        """Publish the attempt: state, result, experiment rows, event and audit in one transaction.

        Raises:
            Fenced: the lease is lost; nothing is published.
        """
        now = self.store.clock.now()
        result = outcome.document() | {"bill": bill.document()}
        with self._database.begin() as connection:
            message = "completed" + (f"; missing: {'; '.join(outcome.missing)}" if outcome.missing else "")
            self._write(
                connection, lease,
                {
                    "status": JobStatus.COMPLETED, "run_id": outcome.run_id, "model_uri": outcome.model_uri, "result": result,
                    "progress": 1.0, "message": message[:1000], "finished_at": now, "lease_expires": None,
                    "cost_usd_micros": jobs.c.cost_usd_micros + bill.bill_usd_micros,
                },
            )  # fmt: skip
            record_experiment(connection, lease, outcome, now)
            job = self._left(connection, lease.job_id)
            self.store.record(
                connection, "job.completed", lease.job_id, f"system:{lease.worker}",
                _naming(lease) | {
                    "run_id": outcome.run_id, "model_uri": outcome.model_uri, "register_as": lease.request.register_as,
                    "cost_usd_micros": job.cost_usd_micros, "metrics": outcome.metrics, "bill": bill.document(),
                },
            )  # fmt: skip
            return job

    def fail(self, lease: Lease, error: dict[str, Any], bill: Bill, *, retry: bool = True) -> Job:
        """End the attempt without result: queued again while retries are left, else failed for good.

        Args:
            lease: the attempt.
            error: the problem document of what went wrong.
            bill: what the attempt cost all the same.
            retry: false for a mistake that a further attempt would repeat.

        Raises:
            Fenced: the lease is lost.
        """
        again = retry and lease.attempt - lease.lost <= lease.request.max_retries
        values = self._ended(again, error) | {"cost_usd_micros": jobs.c.cost_usd_micros + bill.bill_usd_micros}
        return self._end(
            lease, "job.requeued" if again else "job.failed", values, {"error": error, "bill": bill.document()}
        )

    def cancelled(self, lease: Lease, bill: Bill) -> Job:
        """Record that the work has stopped because its owner asked for it.

        Raises:
            Fenced: the lease is lost.
        """
        values = {
            "status": JobStatus.CANCELLED, "finished_at": self.store.clock.now(), "lease_expires": None, "message": "cancelled",
            "cost_usd_micros": jobs.c.cost_usd_micros + bill.bill_usd_micros,
        }  # fmt: skip
        return self._end(lease, "job.cancelled", values, {"bill": bill.document()})

    def give_back(self, lease: Lease, bill: Bill) -> Job:
        """Put the job back in the queue because the worker ends; the attempt does not count against its retries.

        Raises:
            Fenced: the lease is lost.
        """
        values = {
            "status": JobStatus.QUEUED, "attempt": lease.attempt - 1, "worker": None, "lease_expires": None, "started_at": None,
            "progress": 0.0, "message": "queued again: its worker was shut down",
            "cost_usd_micros": jobs.c.cost_usd_micros + bill.bill_usd_micros,
        }  # fmt: skip
        return self._end(lease, "job.requeued", values, {"bill": bill.document()})

    def requeue_expired(self) -> list[str]:
        """Take back every lease that ran out: the job is queued again without using up a retry.

        It is cancelled where its owner asked for that, and given up when it lost more leases than a job may.

        Returns:
            The ids of the jobs.
        """
        now = self.store.clock.now()
        with self._database.read() as connection:
            overdue = (
                select(jobs.c.id).where(jobs.c.status == JobStatus.RUNNING, jobs.c.lease_expires <= now).limit(100)
            )
            found = list(connection.execute(overdue).scalars())
        taken = []
        for job_id in found:
            with self._database.begin() as connection:
                job = self.store.read(connection, job_id)
                again = job.lost < self.options.max_lost and not job.cancel_requested
                bill = self._bill_lost(job)
                error = {
                    "type": "urn:maestro:problem:worker-lost", "title": "Worker lost", "status": 503,
                    "detail": f"worker {job.worker} gave no sign of life for {self.options.lease_s:g} s in attempt {job.attempt}",
                    "remedy": "see the worker's log; retry the job",
                }  # fmt: skip
                # one row may be taken back by several workers at once: the fence and the time decide who does it
                values = self._ended(again, error)
                if job.cancel_requested:
                    values |= {"status": JobStatus.CANCELLED, "message": "cancelled; its worker was lost"}
                values |= {"lost": job.lost + 1, "cost_usd_micros": jobs.c.cost_usd_micros + bill.bill_usd_micros}
                changed = connection.execute(
                    update(jobs)
                    .where(jobs.c.id == job_id, jobs.c.fence == job.fence, jobs.c.status == JobStatus.RUNNING, jobs.c.lease_expires <= now)
                    .values(**values)
                ).rowcount  # fmt: skip
                if changed:
                    self._left(connection, job_id)
                    kind = "job.requeued" if again else "job.cancelled" if job.cancel_requested else "job.failed"
                    data = _facts(job.request, job_id, job.attempt, job.fence, job.submitted_by) | {
                        "error": error, "bill": bill.document(), "cost_usd_micros": job.cost_usd_micros + bill.bill_usd_micros,
                    }  # fmt: skip
                    self.store.record(connection, kind, job_id, "system:queue", data)
                    taken.append(job_id)
        return taken

    def _bill_lost(self, job: Job) -> Bill:
        """What was allocated up to the last renewal; nobody knows what of it was used."""
        wall_s = 0.0
        if job.started_at is not None and job.lease_expires is not None:
            wall_s = (job.lease_expires - job.started_at).total_seconds() - self.options.lease_s
        return bill_attempt(job.request, wall_s, 0.0, 0, load_rates())

    def _ended(self, again: bool, error: dict[str, Any]) -> dict[str, Any]:
        detail = str(error.get("detail", ""))[:900]
        if again:
            return {
                "status": JobStatus.QUEUED, "worker": None, "lease_expires": None, "started_at": None, "progress": 0.0,
                "message": f"queued again: {detail}", "error": error,
            }  # fmt: skip
        return {
            "status": JobStatus.FAILED, "lease_expires": None, "finished_at": self.store.clock.now(), "message": f"failed: {detail}",
            "error": error,
        }  # fmt: skip

    def _left(self, connection: Connection, job_id: str) -> Job:
        job = self.store.read(connection, job_id)
        follow_job(connection, job, self.store.clock.now())
        return job

    def _end(self, lease: Lease, kind: str, values: dict[str, Any], data: dict[str, Any]) -> Job:
        with self._database.begin() as connection:
            self._write(connection, lease, values)
            job = self._left(connection, lease.job_id)
            everything = _naming(lease) | data | {"cost_usd_micros": job.cost_usd_micros}
            self.store.record(connection, kind, lease.job_id, f"system:{lease.worker}", everything)
            return job

    def _write(self, connection: Connection, lease: Lease, values: dict[str, Any]) -> None:
        changed = connection.execute(
            update(jobs)
            .where(
                jobs.c.id == lease.job_id, jobs.c.fence == lease.fence, jobs.c.status == JobStatus.RUNNING,
                jobs.c.lease_expires > self.store.clock.now(),
            )
            .values(**values)
        ).rowcount  # fmt: skip
        if not changed:
            raise Fenced(
                f"attempt {lease.attempt} of job {lease.job_id} (fence {lease.fence}) is no longer the current one",
                field="fence", remedy="stop this attempt: its lease ran out or the job has ended",
            )  # fmt: skip


def _naming(lease: Lease) -> dict[str, Any]:
    return _facts(lease.request, lease.job_id, lease.attempt, lease.fence, lease.submitted_by)


def _facts(request: JobRequest, job_id: str, attempt: int, fence: int, submitted_by: str) -> dict[str, Any]:
    """What every event of an attempt says."""
    study = {"study_id": request.params.get("study_id")} if request.model_type == STUDY else {}
    return {
        "job_id": job_id, "attempt": attempt, "fence": fence, "submitted_by": submitted_by, "tenant_id": request.tenant_id,
        "model_type": request.model_type,
    } | study  # fmt: skip
