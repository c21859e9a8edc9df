"""Whose turn it is: the next job that may start, found at the same pace however long the queue is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, literal_column, select

from maestro.clients.database.schema.training import ai_training_job_counts as counts
from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.core.jobs import JobStatus
from maestro.core.settings import TrainingSettings
from maestro.decisions.queue_order import Limits, order
from maestro.training.limits import claim_of, limits_of
from maestro.training.store import job_of

_WINDOW = 200
"""Queued jobs that are weighed against each other when cores, GPUs or memory are limited."""

_GROUPS = 50
"""Tenants and backends that are asked for their first job one by one; of more, those at their limit are passed over row by row."""


def next_waiting(connection: Connection, options: TrainingSettings, backends: Sequence[str]) -> RowMapping | None:
    """The row of the job whose turn it is, locked. Costs the same however long the queue is."""
    standing = Standing.read(connection)
    limits = limits_of(options)
    if sum(standing.running.values()) >= options.max_running:
        return None
    free = standing.free(limits, backends)
    if not free:
        return None
    bounded = (limits.cores, limits.gpus, limits.memory_bytes) != (None, None, None)
    heads: list[RowMapping] = []
    for query in _heads(free, standing, _WINDOW if bounded else 1):
        heads += connection.execute(query.with_for_update(skip_locked=True)).mappings()
    heads.sort(key=lambda row: (row["priority_rank"], row["created_at"], row["id"]))
    if not bounded:
        return heads[0] if heads else None
    running = connection.execute(select(jobs).where(jobs.c.status == JobStatus.RUNNING)).mappings()
    turns = order([claim_of(job_of(row)) for row in heads], [claim_of(job_of(row)) for row in running], limits)
    first = next((turn.job_id for turn in turns if turn.start), None)
    return next((row for row in heads if row["id"] == first), None)


class Standing:
    """How many jobs wait and run, by tenant and backend.

    Attributes:
        queued: (tenant, backend) → jobs that wait, above 0.
        running: (tenant, backend) → jobs that run.
    """

    def __init__(self, queued: dict[tuple[str, str], int], running: dict[tuple[str, str], int]) -> None:
        self.queued, self.running = queued, running

    @classmethod
    def read(cls, connection: Connection) -> Standing:
        """As the table of counts says, which costs the same for a job and a million."""
        found: dict[str, dict[tuple[str, str], int]] = {JobStatus.QUEUED: {}, JobStatus.RUNNING: {}}
        rows = connection.execute(
            select(counts.c.tenant_id, counts.c.backend, counts.c.status, func.sum(counts.c.jobs))
            .where(counts.c.status.in_(list(found)), counts.c.jobs > 0)
            .group_by(counts.c.tenant_id, counts.c.backend, counts.c.status)
        )
        for tenant, backend, status, number in rows:
            found[status][str(tenant), str(backend)] = int(number)
        return cls(found[JobStatus.QUEUED], found[JobStatus.RUNNING])

    def free(self, limits: Limits, backends: Sequence[str]) -> list[tuple[str, str]]:
        """The groups that wait for one of `backends` and are below the limits of their tenant and backend."""
        by_tenant: dict[str, int] = {}
        by_backend: dict[str, int] = {}
        for (tenant, backend), number in self.running.items():
            by_tenant[tenant] = by_tenant.get(tenant, 0) + number
            by_backend[backend] = by_backend.get(backend, 0) + number
        return [
            (tenant, backend) for tenant, backend in self.queued
            if backend in backends
            and (limits.jobs_per_tenant is None or by_tenant.get(tenant, 0) < limits.jobs_per_tenant)
            and by_backend.get(backend, 0) < limits.jobs_per_backend.get(backend, 2**31)
        ]  # fmt: skip


def _heads(free: Sequence[tuple[str, str]], standing: Standing, limit: int) -> list[Select[Any]]:
    """Queries for the first waiting jobs of the groups that may start one."""
    # a literal, so that PostgreSQL sees that the partial index holds every such row
    queued = select(jobs).where(jobs.c.status == literal_column("'queued'"))
    ordered = (jobs.c.priority_rank, jobs.c.created_at, jobs.c.id)
    if len(free) == len(standing.queued):
        return [queued.order_by(*ordered).limit(limit)]
    if len(free) <= _GROUPS:
        groups = [queued.where(jobs.c.tenant_id == tenant, jobs.c.backend == backend) for tenant, backend in free]
        return [group.order_by(*ordered).limit(limit) for group in groups]
    barred = [
        jobs.c.tenant_id.in_({tenant for tenant, _ in free}),
        jobs.c.backend.in_({backend for _, backend in free}),
    ]
    return [queued.where(*barred).order_by(*ordered).limit(limit)]
