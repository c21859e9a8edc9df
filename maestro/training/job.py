"""A training job as its readers see it, and the right to run one of its attempts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from maestro.core.jobs import JobRequest, JobStatus, Priority
from maestro.core.model import Model, Time


class Job(Model):
    """One job. `fence` numbers its leases; only the holder of the newest may write."""

    id: str
    tenant_id: str
    name: str
    model_type: str
    priority: Priority
    backend: str
    status: JobStatus
    request: JobRequest
    submitted_by: str
    retry_of: str | None = None
    attempt: int = 0
    lost: int = Field(default=0, description="attempts whose worker gave no sign of life; they use up no retry")
    fence: int = 0
    worker: str | None = None
    lease_expires: Time | None = None
    cancel_requested: bool = False
    progress: float = Field(default=0.0, description="0 to 1")
    message: str | None = None
    run_id: str | None = None
    model_uri: str | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    cost_usd_micros: int = 0
    created_at: Time
    started_at: Time | None = None
    finished_at: Time | None = None

    def elapsed_s(self, now: datetime) -> float | None:
        """Seconds since the running attempt began, or that the job took; None when it has not begun."""
        if self.started_at is None:
            return None
        return max(0.0, ((self.finished_at or now) - self.started_at).total_seconds())


class Lease(Model):
    """The right to run one attempt until `expires`; every write of the attempt carries `fence`."""

    job_id: str
    attempt: int
    lost: int = 0
    fence: int
    worker: str
    expires: Time
    started: Time
    submitted_by: str
    request: JobRequest
    traceparent: str | None = None


class LogLine(Model):
    """One line of a job's log."""

    seq: int = 0
    attempt: int
    at: Time
    level: str
    message: str


class Bill(Model):
    """What one attempt cost: allocated cores and GPUs for its wall time, and what the system accounted of them.

    An attempt whose worker was lost is billed up to its last sign of life; nobody accounted for it, so all of it is idle.
    """

    wall_s: float = Field(ge=0)
    cpu_s: float = Field(ge=0)
    cores: float = Field(ge=0)
    gpus: int = Field(default=0, ge=0)
    memory_gib: float = Field(default=0.0, ge=0)
    peak_memory_bytes: int = Field(default=0, ge=0)
    gpu_s: float = Field(default=0.0, ge=0)
    memory_gib_s: float = Field(default=0.0, ge=0, description="peak memory, up to the allocation, for the wall time")
    accounted: bool = True
    rates: str
    bill_usd_micros: int = Field(ge=0)
    used_usd_micros: int = Field(ge=0)


class Outcome(Model):
    """What an attempt that succeeded leaves to be published."""

    run_id: str | None = None
    model_uri: str | None = None
    experiment: str | None = None
    experiment_id: str | None = None
    metrics: dict[str, float] = {}
    params: dict[str, str] = {}
    missing: tuple[str, ...] = ()
    details: dict[str, Any] = {}
