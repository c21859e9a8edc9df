"""Which queued jobs start now: urgent before high before normal before low, then by age, within limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from maestro.core.jobs import Priority


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is queued or running, with what all its workers together hold or want."""

    job_id: str
    tenant_id: str
    priority: Priority
    created_at: datetime
    cores: float = 1.0
    gpus: int = 0
    memory_bytes: int = 0
    backend: str = "local"


@dataclass(frozen=True, slots=True)
class Limits:
    """What may run at once; None is no limit, nor is a backend that is not named."""

    jobs: int | None = None
    jobs_per_tenant: int | None = None
    jobs_per_backend: Mapping[str, int] = field(default_factory=dict)
    cores: float | None = None
    gpus: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A queued job's place (1 is next) and whether it starts now, with the reason in words and the limit that holds it back."""

    job_id: str
    position: int
    start: bool
    reason: str
    limit: str | None = None


def order(queued: Sequence[Claim], running: Sequence[Claim], limits: Limits) -> tuple[Turn, ...]:
    """Place every queued job and say which ones start now.

    A job held back by its tenant's or its backend's own limit lets others pass. A job that lacks cores, GPUs or memory does not: what it
    waits for is not given to those behind it, so that small jobs cannot starve a large one. A job that could never fit
    says so and holds nobody up.

    >>> from datetime import UTC, timedelta
    >>> t = datetime(2026, 1, 1, tzinfo=UTC)
    >>> jobs = [Claim("old", "a", Priority.NORMAL, t), Claim("new", "b", Priority.URGENT, t + timedelta(hours=1))]
    >>> [(turn.job_id, turn.start, turn.reason) for turn in order(jobs, [], Limits(jobs=1))]
    [('new', True, 'urgent, first in the queue'), ('old', False, 'waits: 1 of 1 jobs are running')]
    """
    held = list(running)
    per_tenant = Counter(claim.tenant_id for claim in running)
    per_backend = Counter(claim.backend for claim in running)
    waiting_for: dict[str, str] = {}
    turns = []
    for position, claim in enumerate(sorted(queued, key=_rank), start=1):
        found = (
            too_large(claim, limits)
            or _held_back(claim, held, per_tenant, per_backend, limits)
            or _behind(claim, waiting_for)
        )
        if found is None:
            held.append(claim)
            per_tenant[claim.tenant_id] += 1
            per_backend[claim.backend] += 1
            place = "first in the queue" if position == 1 else f"place {position} in the queue"
            turns.append(Turn(claim.job_id, position, True, f"{claim.priority}, {place}"))
            continue
        for resource in _short_of(claim, held, limits):
            if too_large(claim, limits) is None:
                waiting_for.setdefault(resource, claim.job_id)
        turns.append(Turn(claim.job_id, position, False, found[1], found[0]))
    return tuple(turns)


def _rank(claim: Claim) -> tuple[int, datetime, str]:
    return claim.priority.rank, claim.created_at, claim.job_id


def _wants(claim: Claim) -> dict[str, float]:
    return {"cores": claim.cores, "gpus": claim.gpus, "memory_bytes": claim.memory_bytes}


def too_large(claim: Claim, limits: Limits) -> tuple[str, str] | None:
    """The limit that the job alone is beyond, and that in words; None for a job that may start one day."""
    for resource, wanted in _wants(claim).items():
        limit = getattr(limits, resource)
        if limit is not None and wanted > limit:
            return (
                resource,
                f"can never start: wants {_amount(resource, wanted)}, the limit is {_amount(resource, limit)}",
            )
    if limits.jobs_per_backend.get(claim.backend) == 0:
        return "jobs_per_backend", f"can never start: backend {claim.backend} is closed"
    return None


def _held_back(
    claim: Claim, held: Sequence[Claim], per_tenant: Counter[str], per_backend: Counter[str], limits: Limits
) -> tuple[str, str] | None:
    if limits.jobs is not None and len(held) >= limits.jobs:
        return "jobs", f"waits: {len(held)} of {limits.jobs} jobs are running"
    tenant, backend = per_tenant[claim.tenant_id], per_backend[claim.backend]
    if limits.jobs_per_tenant is not None and tenant >= limits.jobs_per_tenant:
        return "jobs_per_tenant", f"waits: tenant {claim.tenant_id} runs {tenant} of its {limits.jobs_per_tenant} jobs"
    most = limits.jobs_per_backend.get(claim.backend)
    if most is not None and backend >= most:
        return "jobs_per_backend", f"waits: backend {claim.backend} runs {backend} of its {most} jobs"
    for resource in _short_of(claim, held, limits):
        limit = getattr(limits, resource)
        free = limit - sum(_wants(other)[resource] for other in held)
        return (
            resource,
            f"waits: wants {_amount(resource, _wants(claim)[resource])}, {_amount(resource, free)} are free",
        )
    return None


def _short_of(claim: Claim, held: Sequence[Claim], limits: Limits) -> tuple[str, ...]:
    short = []
    for resource, wanted in _wants(claim).items():
        limit = getattr(limits, resource)
        if limit is not None and wanted > 0 and wanted + sum(_wants(other)[resource] for other in held) > limit + 1e-9:
            short.append(resource)
    return tuple(short)


def _behind(claim: Claim, waiting_for: dict[str, str]) -> tuple[str, str] | None:
    for resource, job_id in waiting_for.items():
        if _wants(claim)[resource] > 0:
            return resource, f"waits behind {job_id}, which waits for {_NAMES[resource]}"
    return None


_NAMES = {"cores": "cores", "gpus": "GPUs", "memory_bytes": "memory"}


def _amount(resource: str, value: float) -> str:
    if resource == "memory_bytes":
        return f"{value / 2**30:g} GiB"
    return f"{value:g} {_NAMES[resource]}"
