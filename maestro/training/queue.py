"""The queue seen from outside: a job's place and why it waits, how long it will take, and how the jobs stand in all."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select

from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.core.jobs import JobRequest, JobStatus
from maestro.core.model import Model
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.rates import load_rates
from maestro.core.settings import TrainingSettings
from maestro.decisions.cost import Allocation, bill
from maestro.decisions.duration import DurationEstimate, estimate_duration, remaining
from maestro.decisions.queue_order import Claim, Limits, order
from maestro.training.job import Job
from maestro.training.store import JobStore, job_of

_HISTORY = 50
_LOOK_AHEAD = 2000


class QueuePlace(Model):
    """Where a queued job stands; 1 is next."""

    position: int
    reason: str


class Estimate(Model):
    """Seconds left (a median and an 80 % interval), what they rest on, and the price of the allocation for the median."""

    seconds: float
    lower: float
    upper: float
    samples: int
    basis: str
    price_usd_micros: int


class Stats(Model):
    """How the jobs stand."""

    total: int
    by_status: dict[str, int]
    by_priority: dict[str, int]
    by_model_type: dict[str, int]
    by_tenant: dict[str, int]
    mean_duration_s: float | None = None
    success_rate: float | None = None
    cost_usd_micros: int = 0
    running_limit: int
    running_limit_per_tenant: int


class Queue:
    """Read-only views of a store's queue. Thread-safe."""

    def __init__(self, store: JobStore, options: TrainingSettings) -> None:
        self._store = store
        self._options = options

    def place(self, job: Job) -> QueuePlace | None:
        """The job's place and why it waits, in words; None once it has started."""
        if job.status is not JobStatus.QUEUED:
            return None
        with self._store.database.read() as connection:
            ahead = connection.execute(
                select(func.count()).select_from(jobs).where(
                    jobs.c.status == JobStatus.QUEUED,
                    (jobs.c.priority_rank < job.priority.rank)
                    | ((jobs.c.priority_rank == job.priority.rank) & (jobs.c.created_at < job.created_at))
                    | ((jobs.c.priority_rank == job.priority.rank) & (jobs.c.created_at == job.created_at) & (jobs.c.id <= job.id)),
                )
            ).scalar_one()  # fmt: skip
            running = [
                _claim(job_of(row))
                for row in connection.execute(select(jobs).where(jobs.c.status == JobStatus.RUNNING)).mappings()
            ]
            queued = connection.execute(
                select(jobs).where(jobs.c.status == JobStatus.QUEUED)
                .order_by(jobs.c.priority_rank, jobs.c.created_at, jobs.c.id).limit(_LOOK_AHEAD)
            ).mappings()  # fmt: skip
            claims = [_claim(job_of(row)) for row in queued]
        limits = Limits(jobs=self._options.max_running, jobs_per_tenant=self._options.max_running_per_tenant)
        turns = {turn.job_id: turn for turn in order(claims, running, limits)}
        if job.id in turns:
            turn = turns[job.id]
            reason = "waits for a worker: " + turn.reason if turn.start else turn.reason
            return QueuePlace(position=int(ahead), reason=reason)
        return QueuePlace(position=int(ahead), reason=f"waits: {int(ahead) - 1} jobs are before it")

    def estimate(self, job: Job, now: datetime) -> Estimate | None:
        """How long the job still takes; None once it has ended."""
        if job.status.is_final:
            return None
        before = self.estimate_request(job.request)
        elapsed = job.elapsed_s(now)
        if elapsed is None or job.status is JobStatus.QUEUED:
            return before
        whole = DurationEstimate(before.seconds, before.lower, before.upper, before.samples, before.basis)
        return _priced(remaining(whole, elapsed, job.progress), job.request)

    def estimate_request(self, request: JobRequest) -> Estimate:
        """How long such a job takes, from those like it: same kind, data and backend."""
        algorithm = request.params.get("algorithm")
        with self._store.database.read() as connection:
            rows = connection.execute(
                select(jobs.c.request, jobs.c.started_at, jobs.c.finished_at)
                .where(jobs.c.status == JobStatus.COMPLETED, jobs.c.model_type == request.model_type, jobs.c.backend == request.backend)
                .order_by(jobs.c.created_at.desc()).limit(_HISTORY)
            ).mappings()  # fmt: skip
            past = [
                (row["finished_at"] - row["started_at"]).total_seconds()
                for row in rows
                if row["started_at"] and row["finished_at"]
                and row["request"]["data"].get("feature_service") == request.data.feature_service
                and row["request"].get("params", {}).get("algorithm") == algorithm
            ]  # fmt: skip
        return _priced(estimate_duration(past[::-1], timeout_s=float(request.timeout_s)), request)

    def stats(self, by: Principal, tenant_id: str | None = None) -> Stats:
        """Counts, rates and cost of the jobs that `by` may see."""
        by.require(PrincipalRole.VIEWER, PrincipalRole.APPROVER)
        where = list(self._store.tenancy(by))
        if tenant_id is not None:
            where.append(jobs.c.tenant_id == tenant_id)
        with self._store.database.read() as connection:

            def counts(column: str) -> dict[str, int]:
                query = select(jobs.c[column], func.count()).where(*where).group_by(jobs.c[column])
                return {str(name): int(count) for name, count in connection.execute(query)}

            by_status = {str(status): 0 for status in JobStatus} | counts("status")
            spent = connection.execute(
                select(func.coalesce(func.sum(jobs.c.cost_usd_micros), 0)).where(*where)
            ).scalar_one()
            times = connection.execute(
                select(jobs.c.started_at, jobs.c.finished_at).where(*where, jobs.c.status == JobStatus.COMPLETED)
                .order_by(jobs.c.created_at.desc()).limit(1000)
            ).all()  # fmt: skip
            took = [(end - start).total_seconds() for start, end in times if start and end]
            done, failed = by_status[JobStatus.COMPLETED], by_status[JobStatus.FAILED]
            return Stats(
                total=sum(by_status.values()), by_status=by_status, by_priority=counts("priority"), by_model_type=counts("model_type"),
                by_tenant=counts("tenant_id"), mean_duration_s=round(sum(took) / len(took), 3) if took else None,
                success_rate=round(done / (done + failed), 4) if done + failed else None, cost_usd_micros=int(spent),
                running_limit=self._options.max_running, running_limit_per_tenant=self._options.max_running_per_tenant,
            )  # fmt: skip


def _claim(job: Job) -> Claim:
    resources, workers = job.request.resources, job.request.workers
    return Claim(
        job.id, job.tenant_id, job.priority, job.created_at, cores=resources.cpu * workers, gpus=resources.gpu * workers,
        memory_bytes=resources.memory_bytes * workers,
    )  # fmt: skip


def _priced(found: DurationEstimate, request: JobRequest) -> Estimate:
    allocation = Allocation(
        wall_s=found.seconds, cores=request.resources.cpu * request.workers, gpus=request.resources.gpu * request.workers,
        memory_gib=request.resources.memory_bytes * request.workers / 2**30,
    )  # fmt: skip
    return Estimate(
        seconds=found.seconds, lower=found.lower, upper=found.upper, samples=found.samples, basis=found.basis,
        price_usd_micros=bill(allocation, load_rates()).total,
    )  # fmt: skip
