"""Training jobs: submit, read, follow, cancel, retry (`/ai/training`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, status
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.api.bodies import Strict
from maestro.api.paging import Page as Items
from maestro.api.paging import page_of
from maestro.core.jobs import JobRequest, JobStatus, Priority
from maestro.core.model import Name
from maestro.core.principals import Principal
from maestro.training.advice import Advice, advise
from maestro.training.control import Training
from maestro.training.job import Job, LogLine
from maestro.training.plan import Plan
from maestro.training.queue import ActiveJob, Estimate, QueuePlace, Stats, TenantStanding, active_jobs
from maestro.training.retention import Cleaned
from maestro.training.store import JobFilter

router = APIRouter(prefix="/ai/training", tags=["training"])

JobId = Annotated[str, Path(description="the job", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]+$",
        description="the same key and body give the same job",
    ),
]
Page = Annotated[int, Query(ge=1, le=1_000_000)]
PageSize = Annotated[int, Query(ge=1, le=200)]
_EVERY_S = 0.5
_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["progress", "end", "timeout"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}


class JobView(Job):
    """A job with what is computed: place in the queue (in a list of those among its first 500), estimate, duration."""

    queue: QueuePlace | None = None
    estimate: Estimate | None = None
    duration_s: float | None = None


class JobPage(BaseModel):
    """A page of jobs, newest first."""

    items: list[JobView]
    page: int
    page_size: int
    total: int


class LogPage(BaseModel):
    """Log lines, oldest first; `next` is the `after` to go on from."""

    items: list[LogLine]
    next: int


def _view(training: Training, job: Job) -> JobView:
    now = training.clock.now()
    return JobView(
        **{name: getattr(job, name) for name in Job.model_fields}, queue=training.queue.place(job),
        estimate=training.queue.estimate(job, now), duration_s=job.elapsed_s(now),
    )  # fmt: skip


def _views(training: Training, found: list[Job]) -> list[JobView]:
    """Like `_view` for each, with one look at the queue and one at each kind of job's past."""
    now = training.clock.now()
    places, estimates = training.queue.places(found), training.queue.estimates(found, now)
    return [
        JobView(
            **{name: getattr(job, name) for name in Job.model_fields}, queue=places.get(job.id), estimate=estimates.get(job.id),
            duration_s=job.elapsed_s(now),
        )
        for job in found
    ]  # fmt: skip


@router.post("/jobs/plan")
def plan(request: Strict[JobRequest], platform: CurrentPlatform, caller: CurrentPrincipal) -> Plan:
    """What would become of the job if it were submitted now: fits, waits or never fits, which limit binds, for how long, and the price."""
    return platform.training.plan(request, caller)


@router.post("/jobs/start", status_code=status.HTTP_202_ACCEPTED)
def start(
    request: Strict[JobRequest],
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Submit a job; it is queued by priority, then age."""
    return _view(platform.training, platform.training.submit(request, caller, idempotency_key))


@router.get("/jobs")
def list_jobs(
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    tenant_id: Annotated[Name | None, Query()] = None,
    status: Annotated[JobStatus | None, Query()] = None,
    model_type: Annotated[Name | None, Query()] = None,
    priority: Annotated[Priority | None, Query()] = None,
    page: Page = 1,
    page_size: PageSize = 50,
) -> JobPage:
    """Jobs of the caller's tenants, newest first."""
    training = platform.training
    which = JobFilter(tenant_id=tenant_id, status=status, model_type=model_type, priority=priority)
    found, total = training.jobs.page(which, caller, page=page, page_size=page_size)
    return JobPage(items=_views(training, found), page=page, page_size=page_size, total=total)


@router.get("/jobs/{job_id}")
def read(job_id: JobId, platform: CurrentPlatform, caller: CurrentPrincipal) -> JobView:
    """One job."""
    return _view(platform.training, platform.training.jobs.get(job_id, caller))


@router.delete("/jobs/{job_id}")
def cancel(job_id: JobId, platform: CurrentPlatform, caller: CurrentPrincipal) -> JobView:
    """Cancel: a queued job at once, a running one as soon as its worker has stopped it."""
    return _view(platform.training, platform.training.jobs.cancel(job_id, caller))


@router.post("/jobs/{job_id}/retry", status_code=status.HTTP_202_ACCEPTED)
def retry(
    job_id: JobId, platform: CurrentPlatform, caller: CurrentPrincipal, idempotency_key: IdempotencyKey = None
) -> JobView:
    """Queue a failed or cancelled job again with its configuration; the new job links to it."""
    return _view(platform.training, platform.training.jobs.retry(job_id, caller, idempotency_key))


@router.get("/jobs/{job_id}/logs")
def logs(
    job_id: JobId,
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    level: Annotated[str | None, Query(pattern="^(debug|info|warning|error)$")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> LogPage:
    """The job's log."""
    lines = list(platform.training.jobs.logs(job_id, caller, after=after, level=level, limit=limit))
    return LogPage(items=lines, next=lines[-1].seq if lines else after)


@router.get(
    "/jobs/{job_id}/progress",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"itemSchema": _EVENT}}}},
)
async def progress(
    job_id: JobId,
    request: Request,
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    timeout_s: Annotated[float, Query(ge=0, le=86400, description="end the stream after this long")] = 3600.0,
) -> StreamingResponse:
    """Server-sent events: `progress` whenever something changed, `end` with the job when it has ended, `timeout` when the time is over."""
    job = await run_in_threadpool(platform.training.jobs.get, job_id, caller)
    stream = _events(platform.training, job, caller, request, timeout_s)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


@router.get("/stats")
def stats(
    platform: CurrentPlatform, caller: CurrentPrincipal, tenant_id: Annotated[Name | None, Query()] = None
) -> Stats:
    """How the jobs stand."""
    return platform.training.queue.stats(caller, tenant_id)


@router.get("/tenants")
def tenants(
    platform: CurrentPlatform, caller: CurrentPrincipal, page: Page = 1, page_size: PageSize = 50
) -> Items[TenantStanding]:
    """The tenants that the caller may see and that have jobs: how they stand, their cost, their limit."""
    found = platform.training.queue.tenants(caller, page=page, page_size=page_size)
    return page_of(found, page, page_size)


@router.get("/active")
def active(
    platform: CurrentPlatform, caller: CurrentPrincipal, page: Page = 1, page_size: PageSize = 50
) -> Items[ActiveJob]:
    """Running and queued jobs, oldest first."""
    return page_of(active_jobs(platform.training.jobs, caller, page=page, page_size=page_size), page, page_size)


@router.get("/advice")
def advice(
    platform: CurrentPlatform, caller: CurrentPrincipal, page: Page = 1, page_size: PageSize = 50
) -> Items[Advice]:
    """What jobs should ask for, from what the system accounted for those like them; the greatest saving first."""
    return page_of(advise(platform.training.jobs, caller, page=page, page_size=page_size), page, page_size)


@router.post("/clean")
def clean(platform: CurrentPlatform, caller: CurrentPrincipal) -> Cleaned:
    """Remove completed jobs after 90 days, failed and cancelled after 30, log lines after 7. A worker does it every hour."""
    return platform.training.clean_up(caller)


async def _events(
    training: Training, job: Job, caller: Principal, request: Request, timeout_s: float
) -> AsyncIterator[str]:
    said, began = "", training.clock.monotonic()
    while True:
        view = await run_in_threadpool(_view, training, job)
        kind = "end" if job.status.is_final else "progress"
        data = json.dumps(
            {
                "job_id": job.id, "status": job.status, "progress": job.progress, "message": job.message, "attempt": job.attempt,
                "queue": view.queue.document() if view.queue else None,
                "remaining_s": view.estimate.seconds if view.estimate else None,
            }
        )  # fmt: skip
        if data != said:
            said = data
            yield f"event: {kind}\ndata: {data}\n\n"
        if kind == "end" or await request.is_disconnected():
            return
        if training.clock.monotonic() - began >= timeout_s:
            yield f"event: timeout\ndata: {data}\n\n"
            return
        await asyncio.sleep(_EVERY_S)
        job = await run_in_threadpool(training.jobs.get, job.id, caller)
