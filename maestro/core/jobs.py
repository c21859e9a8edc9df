"""The training job: request, states and the transitions that are legal."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

from pydantic import Field, field_validator

from maestro.core.errors import Conflict
from maestro.core.model import Model, Name

MEMORY = r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti)$"
"""An amount of memory, as `512Mi`."""


class Priority(StrEnum):
    """Urgent first, then by age."""

    URGENT = "urgent"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 is served first."""
        return list(Priority).index(self)


class JobStatus(StrEnum):
    """The five states users see."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing can follow."""
        return self in {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED, JobStatus.FAILED}),
    # back to queued: the lease was lost or the attempt failed and retries are left
    JobStatus.RUNNING: frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUEUED}),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}


def check_transition(current: JobStatus, target: JobStatus, job_id: str) -> None:
    """Refuse an illegal transition.

    Raises:
        Conflict: `target` cannot follow `current`.
    """
    if target not in TRANSITIONS[current]:
        raise Conflict(
            f"job {job_id} is {current}; it cannot become {target}",
            field="status",
            remedy="read the job again: it may have ended in the meantime",
        )


class DataSpec(Model):
    """Where the training frame comes from: a Feast feature service, with an optional window on event time."""

    feature_service: Name
    from_: str | None = Field(default=None, alias="from", description="first event date, YYYY-MM-DD")
    to: str | None = Field(default=None, description="last event date, YYYY-MM-DD")
    entities: str | None = Field(default=None, description="Parquet file of entity keys, event timestamps and target")
    target: str | None = Field(default=None, description="label column of the entity file")

    @field_validator("from_", "to")
    @classmethod
    def _is_date(cls, value: str | None) -> str | None:
        if value is not None and re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", value) is None:
            raise ValueError("a date is YYYY-MM-DD")
        return value


class Resources(Model):
    """What one worker of the job is allocated."""

    cpu: float = Field(default=1.0, gt=0, le=256)
    memory: str = Field(default="1Gi", pattern=MEMORY)
    gpu: int = Field(default=0, ge=0, le=64)

    @property
    def memory_bytes(self) -> int:
        """The memory in bytes.

        >>> Resources(memory="2Gi").memory_bytes
        2147483648
        """
        factor = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}[self.memory[-2:]]
        return round(float(self.memory[:-2]) * factor)


class JobRequest(Model):
    """What a user submits (`POST /ai/training/jobs/start`)."""

    name: Name
    tenant_id: Name = "default"
    model_type: Name
    priority: Priority = Priority.NORMAL
    backend: Name = "local"
    framework: Name | None = Field(
        default=None,
        description="what a cluster runs it under: pytorch (the default), tensorflow, xgboost, paddle, mpi or jax",
    )
    workers: int = Field(default=1, ge=1, le=64)
    data: DataSpec
    params: dict[str, Any] = Field(default_factory=dict)
    resources: Resources = Resources()
    timeout_s: int = Field(default=1800, ge=1, le=7 * 86400)
    max_retries: int = Field(default=0, ge=0, le=10)
    register_as: Name | None = None
