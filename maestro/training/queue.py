"""The queue seen from outside: a job's place and why it waits, how long it will take, what it will cost, and how the jobs stand in all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from maestro.clients.database.schema.training import active_training_jobs as active
from maestro.clients.database.schema.training import ai_training_job_counts as counts
from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.core.jobs import JobRequest, JobStatus, Priority
from maestro.core.model import Model, Time
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.rates import load_rates
from maestro.core.settings import TrainingSettings
from maestro.decisions.cost import Allocation, bill
from maestro.decisions.duration import DurationEstimate, estimate_duration, remaining
from maestro.decisions.queue_order import Claim, order
from maestro.training.job import Job
from maestro.training.limits import claim_of, claim_of_request, limits_of
from maestro.training.store import JobStore, job_of, tenancy

_HISTORY = 50
LOOK_AHEAD = 500
"""Jobs at the head of the queue whose turns are worked out; of those behind them only the place is told."""


class QueuePlace(Model):
    """Where a queued job stands; 1 is next."""

    position: int
    reason: str
    limit: str | None = None


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
    by_backend: dict[str, int] = {}
    mean_duration_s: float | None = None
    success_rate: float | None = None
    cost_usd_micros: int = 0
    running_limit: int
    running_limit_per_tenant: int
    running_limit_per_backend: dict[str, int] = {}


class TenantStanding(Model):
    """One tenant's jobs by state, what they cost, and how many of them may run at once."""

    tenant_id: str
    jobs: int
    by_status: dict[str, int]
    cost_usd_micros: int
    running_limit: int


class ActiveJob(Model):
    """A job that waits or runs (the view `active_training_jobs`)."""

    id: str
    tenant_id: str
    name: str
    model_type: str
    priority: Priority
    backend: str
    status: JobStatus
    progress: float
    worker: str | None = None
    created_at: Time
    started_at: Time | None = None


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
            ahead = jobs_before(connection, job)
        # far behind, the turns of those at the head say nothing of it
        found = self.places([job]).get(job.id) if ahead < LOOK_AHEAD else None
        return found or QueuePlace(position=ahead + 1, reason=f"waits: {ahead} jobs are before it")

    def places(self, wanted: Sequence[Job]) -> dict[str, QueuePlace]:
        """The places of those jobs that are among the first 500 of the queue, by one look at it."""
        if not any(job.status is JobStatus.QUEUED for job in wanted):
            return {}
        with self._store.database.read() as connection:
            queued, running = self._queued(connection), running_jobs(connection)
        turns = {
            turn.job_id: turn for turn in order(queued, [claim_of(row) for row in running], limits_of(self._options))
        }
        places = {}
        for job in wanted:
            if job.id in turns and job.status is JobStatus.QUEUED:
                turn = turns[job.id]
                reason = "waits for a worker: " + turn.reason if turn.start else turn.reason
                places[job.id] = QueuePlace(position=turn.position, reason=reason, limit=turn.limit)
        return places

    def estimate(self, job: Job, now: datetime) -> Estimate | None:
        """How long the job still takes; None once it has ended."""
        return self.estimates([job], now).get(job.id)

    def estimates(self, wanted: Sequence[Job], now: datetime) -> dict[str, Estimate]:
        """How long each job still takes; those that have ended are left out. Like jobs are looked up once."""
        known: dict[tuple[Any, ...], DurationEstimate] = {}
        found = {}
        with self._store.database.read() as connection:
            for job in wanted:
                if job.status.is_final:
                    continue
                whole = known_duration(connection, known, job.request)
                elapsed = job.elapsed_s(now)
                if elapsed is not None and job.status is not JobStatus.QUEUED:
                    whole = remaining(whole, elapsed, job.progress)
                found[job.id] = priced(whole, job.request)
        return found

    def estimate_request(self, request: JobRequest) -> Estimate:
        """How long such a job takes, from those like it: same kind, data, algorithm and backend."""
        with self._store.database.read() as connection:
            return priced(_history(connection, request), request)

    def stats(self, by: Principal, tenant_id: str | None = None) -> Stats:
        """Counts, rates and cost of the jobs that `by` may see; as quick for a million jobs as for one."""
        by.require(PrincipalRole.VIEWER, PrincipalRole.APPROVER)
        where = tenancy(by, counts.c.tenant_id)
        own = tenancy(by, jobs.c.tenant_id)
        if tenant_id is not None:
            where.append(counts.c.tenant_id == tenant_id)
            own.append(jobs.c.tenant_id == tenant_id)
        with self._store.database.read() as connection:

            def by_column(column: str) -> dict[str, int]:
                query = select(counts.c[column], func.sum(counts.c.jobs)).where(*where).group_by(counts.c[column])
                return {str(name): int(count) for name, count in connection.execute(query) if count}

            by_status = {str(status): 0 for status in JobStatus} | by_column("status")
            spent = connection.execute(
                select(func.coalesce(func.sum(counts.c.cost_usd_micros), 0)).where(*where)
            ).scalar_one()
            times = connection.execute(
                select(jobs.c.started_at, jobs.c.finished_at).where(*own, jobs.c.status == JobStatus.COMPLETED)
                .order_by(jobs.c.created_at.desc()).limit(1000)
            ).all()  # fmt: skip
            took = [(end - start).total_seconds() for start, end in times if start and end]
            done, failed = by_status[JobStatus.COMPLETED], by_status[JobStatus.FAILED]
            return Stats(
                total=sum(by_status.values()), by_status=by_status, by_priority=by_column("priority"),
                by_model_type=by_column("model_type"), by_tenant=by_column("tenant_id"), by_backend=by_column("backend"),
                mean_duration_s=round(sum(took) / len(took), 3) if took else None,
                success_rate=round(done / (done + failed), 4) if done + failed else None, cost_usd_micros=int(spent),
                running_limit=self._options.max_running, running_limit_per_tenant=self._options.max_running_per_tenant,
                running_limit_per_backend=self._options.max_running_per_backend,
            )  # fmt: skip

    def tenants(self, by: Principal, *, page: int = 1, page_size: int = 50) -> tuple[list[TenantStanding], int]:
        """A page of the tenants that have jobs and that `by` may see, by name, and how many there are."""
        by.require(PrincipalRole.VIEWER, PrincipalRole.APPROVER)
        where = [*tenancy(by, counts.c.tenant_id), counts.c.jobs > 0]
        with self._store.database.read() as connection:
            names = list(
                connection.execute(select(counts.c.tenant_id).where(*where).distinct().order_by(counts.c.tenant_id)).scalars()
            )  # fmt: skip
            shown = names[(page - 1) * page_size : page * page_size]
            rows = connection.execute(
                select(counts.c.tenant_id, counts.c.status, func.sum(counts.c.jobs), func.sum(counts.c.cost_usd_micros))
                .where(counts.c.tenant_id.in_(shown)).group_by(counts.c.tenant_id, counts.c.status)
            ).all()  # fmt: skip
        limit = min(self._options.max_running, self._options.max_running_per_tenant)
        found = []
        for name in shown:
            own = {str(status): (int(number), int(cost)) for tenant, status, number, cost in rows if tenant == name}
            by_status = {str(status): own.get(status, (0, 0))[0] for status in JobStatus}
            found.append(
                TenantStanding(
                    tenant_id=name, jobs=sum(by_status.values()), by_status=by_status, running_limit=limit,
                    cost_usd_micros=sum(cost for _, cost in own.values()),
                )
            )  # fmt: skip
        return found, len(names)

    def _queued(self, connection: Connection) -> list[Claim]:
        limits = limits_of(self._options)
        wanted = [jobs.c.id, jobs.c.tenant_id, jobs.c.priority, jobs.c.created_at, jobs.c.backend]
        bounded = (limits.cores, limits.gpus, limits.memory_bytes) != (None, None, None)
        rows = connection.execute(
            select(*wanted, *([jobs.c.request] if bounded else [])).where(jobs.c.status == JobStatus.QUEUED)
            .order_by(jobs.c.priority_rank, jobs.c.created_at, jobs.c.id).limit(LOOK_AHEAD)
        ).mappings()  # fmt: skip
        if bounded:
            return [
                claim_of_request(row["id"], JobRequest.model_validate(row["request"]), row["created_at"])
                for row in rows
            ]
        return [
            Claim(row["id"], row["tenant_id"], Priority(row["priority"]), row["created_at"], backend=row["backend"])
            for row in rows
        ]


def running_jobs(connection: Connection) -> list[Job]:
    """Every job that runs; there are never more than the limit."""
    return [
        job_of(row) for row in connection.execute(select(jobs).where(jobs.c.status == JobStatus.RUNNING)).mappings()
    ]


def active_jobs(store: JobStore, by: Principal, *, page: int = 1, page_size: int = 50) -> tuple[list[ActiveJob], int]:
    """A page of the view `active_training_jobs` in the order of the queue, running jobs first, and how many there are."""
    by.require(PrincipalRole.VIEWER, PrincipalRole.APPROVER)
    states = (JobStatus.QUEUED, JobStatus.RUNNING)
    with store.database.read() as connection:
        total = connection.execute(
            select(func.coalesce(func.sum(counts.c.jobs), 0)).where(*tenancy(by, counts.c.tenant_id), counts.c.status.in_(states))
        ).scalar_one()  # fmt: skip
        rows = connection.execute(
            select(active).where(*tenancy(by, active.c.tenant_id))
            .order_by(active.c.status.desc(), active.c.created_at, active.c.id).limit(page_size).offset((page - 1) * page_size)
        ).mappings()  # fmt: skip
        return [ActiveJob(**row) for row in rows], int(total)


def jobs_before(
    connection: Connection, job: Job | None, priority: Priority | None = None, at: datetime | None = None
) -> int:
    """How many jobs stand before a queued one, or before one of a priority that were queued `at`."""
    rank = job.priority if job is not None else priority or Priority.NORMAL
    higher = [str(other) for other in Priority if other.rank < rank.rank]
    above = connection.execute(
        select(func.coalesce(func.sum(counts.c.jobs), 0)).where(counts.c.status == JobStatus.QUEUED, counts.c.priority.in_(higher))
    ).scalar_one()  # fmt: skip
    same = [jobs.c.status == JobStatus.QUEUED, jobs.c.priority_rank == rank.rank]
    if job is None:
        beside = jobs.c.created_at <= at
    else:
        beside = (jobs.c.created_at < job.created_at) | ((jobs.c.created_at == job.created_at) & (jobs.c.id < job.id))
    return int(above) + int(
        connection.execute(select(func.count()).select_from(jobs).where(*same, beside)).scalar_one()
    )


def known_duration(
    connection: Connection, known: dict[tuple[Any, ...], DurationEstimate], request: JobRequest
) -> DurationEstimate:
    """How long such a job takes; looked up once for each kind, in `known`."""
    key = (
        request.model_type,
        request.backend,
        request.data.feature_service,
        str(request.params.get("algorithm")),
        request.timeout_s,
    )
    if key not in known:
        known[key] = _history(connection, request)
    return known[key]


def _history(connection: Connection, request: JobRequest) -> DurationEstimate:
    algorithm = request.params.get("algorithm")
    rows = connection.execute(
        select(jobs.c.request, jobs.c.started_at, jobs.c.finished_at)
        .where(jobs.c.model_type == request.model_type, jobs.c.status == JobStatus.COMPLETED, jobs.c.backend == request.backend)
        .order_by(jobs.c.created_at.desc()).limit(_HISTORY)
    ).mappings()  # fmt: skip
    past = [
        (row["finished_at"] - row["started_at"]).total_seconds()
        for row in rows
        if row["started_at"] and row["finished_at"]
        and row["request"]["data"].get("feature_service") == request.data.feature_service
        and row["request"].get("params", {}).get("algorithm") == algorithm
    ]  # fmt: skip
    return estimate_duration(past[::-1], timeout_s=float(request.timeout_s))


def allocation_of(request: JobRequest, wall_s: float) -> Allocation:
    """What all workers of such a job hold together for so many seconds."""
    return Allocation(
        wall_s=wall_s, cores=request.resources.cpu * request.workers, gpus=request.resources.gpu * request.workers,
        memory_gib=request.resources.memory_bytes * request.workers / 2**30,
    )  # fmt: skip


def priced(found: DurationEstimate, request: JobRequest) -> Estimate:
    """The estimate with the price of its median."""
    return Estimate(
        seconds=found.seconds, lower=found.lower, upper=found.upper, samples=found.samples, basis=found.basis,
        price_usd_micros=bill(allocation_of(request, found.seconds), load_rates()).total,
    )  # fmt: skip
