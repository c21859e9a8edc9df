"""What would become of a job before it is submitted: whether it fits, which limit binds, how long it waits, and its price."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select

from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.core.jobs import JobRequest, JobStatus
from maestro.core.model import Model
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.rates import load_rates
from maestro.core.settings import TrainingSettings
from maestro.decisions.cost import bill
from maestro.decisions.duration import DurationEstimate, remaining
from maestro.decisions.queue_wait import forecast
from maestro.training.limits import claim_of, claim_of_request, limits_of
from maestro.training.queue import (
    LOOK_AHEAD,
    Estimate,
    allocation_of,
    jobs_before,
    known_duration,
    priced,
    running_jobs,
)
from maestro.training.store import JobStore, job_of, require_tenant

_ASKED = "asked"


class Plan(Model):
    """What would become of a job that were submitted now.

    `price_usd_micros` is that of the estimate, `price_worst_usd_micros` that of every attempt to its time limit.
    """

    verdict: Literal["fits", "waits", "never"]
    reason: str
    limit: str | None = None
    position: int
    wait_s: float | None = None
    wait_lower_s: float | None = None
    wait_upper_s: float | None = None
    estimate: Estimate
    price_usd_micros: int
    price_worst_usd_micros: int
    rates: str


def plan_job(store: JobStore, options: TrainingSettings, request: JobRequest, by: Principal, now: datetime) -> Plan:
    """Whether the job would fit, wait or never fit; which limit binds; for how long; and the price. Nothing is submitted.

    Raises:
        Refused: the principal may not look.
        NotFound: the tenant is not one of the principal's.
    """
    by.require(PrincipalRole.VIEWER, PrincipalRole.APPROVER)
    require_tenant(by, request.tenant_id)
    known: dict[tuple[Any, ...], DurationEstimate] = {}
    with store.database.read() as connection:
        running = running_jobs(connection)
        rows = connection.execute(
            select(jobs).where(jobs.c.status == JobStatus.QUEUED)
            .order_by(jobs.c.priority_rank, jobs.c.created_at, jobs.c.id).limit(LOOK_AHEAD)
        ).mappings()  # fmt: skip
        queued = [job_of(row) for row in rows]
        whole = known_duration(connection, known, request)
        times = {job.id: known_duration(connection, known, job.request) for job in queued}
        for job in running:
            times[job.id] = remaining(
                known_duration(connection, known, job.request), job.elapsed_s(now) or 0.0, job.progress
            )
        ahead = jobs_before(connection, None, request.priority, now)
    asked = claim_of_request(_ASKED, request, now)
    waits = [
        forecast(
            asked, [claim_of(job) for job in queued], [claim_of(job) for job in running], limits_of(options),
            {job_id: getattr(time, side) for job_id, time in times.items()},
        )
        for side in ("seconds", "lower", "upper")
    ]  # fmt: skip
    middle = waits[0]
    # beyond the look-ahead the queue is taken to go on as it began
    stretch = max(1.0, ahead / LOOK_AHEAD) if len(queued) == LOOK_AHEAD else 1.0
    seconds = [round(wait.seconds * stretch, 1) if wait.seconds is not None else None for wait in waits]
    estimate = priced(whole, request)
    worst = bill(allocation_of(request, float(request.timeout_s)), load_rates()).total * (1 + request.max_retries)
    return Plan(
        verdict=middle.verdict, reason=middle.reason, limit=middle.limit, position=max(middle.position, ahead + 1), wait_s=seconds[0],
        wait_lower_s=seconds[1], wait_upper_s=seconds[2], estimate=estimate, price_usd_micros=estimate.price_usd_micros,
        price_worst_usd_micros=worst, rates=load_rates().version,
    )  # fmt: skip
