"""What jobs want, and how much of it there is, in the terms of the queue's order. Imports nothing heavy: every claim passes here."""

from __future__ import annotations

from datetime import datetime

from maestro.core.jobs import JobRequest
from maestro.core.settings import TrainingSettings
from maestro.decisions.queue_order import Claim, Limits
from maestro.training.job import Job


def limits_of(options: TrainingSettings) -> Limits:
    """What may run at once, by the settings."""
    memory = options.max_memory_gib
    return Limits(
        jobs=options.max_running, jobs_per_tenant=options.max_running_per_tenant, jobs_per_backend=options.max_running_per_backend,
        cores=options.max_cores, gpus=options.max_gpus, memory_bytes=round(memory * 2**30) if memory is not None else None,
    )  # fmt: skip


def claim_of_request(job_id: str, request: JobRequest, created_at: datetime) -> Claim:
    """What all workers of such a job want together."""
    resources, workers = request.resources, request.workers
    return Claim(
        job_id, request.tenant_id, request.priority, created_at, cores=resources.cpu * workers, gpus=resources.gpu * workers,
        memory_bytes=resources.memory_bytes * workers, backend=request.backend,
    )  # fmt: skip


def claim_of(job: Job) -> Claim:
    """What all workers of the job want together."""
    return claim_of_request(job.id, job.request, job.created_at)
