"""The seam behind which training runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pydantic import Field

from maestro.core.jobs import JobRequest
from maestro.core.model import Model


class Attempt(Model):
    """One attempt to run: what the child reads from `attempt.json` in its folder."""

    job_id: str
    attempt: int = Field(ge=1)
    fence: int = Field(ge=1)
    request: JobRequest
    submitted_by: str
    folder: Path
    command: tuple[str, ...] = Field(default=(), description="what to run instead of the training pipeline")
    environment: dict[str, str] = {}
    labels: dict[str, str] = Field(
        default={}, description="further labels of a cluster's objects, such as a trial's study"
    )

    @property
    def handle(self) -> str:
        """How the backend knows it: one for each fence, so that a superseded attempt is never taken for the new one."""
        return f"{self.job_id}-{self.fence}"


class Phase(StrEnum):
    """Where an attempt's work stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class BackendStatus(Model):
    """The phase, and once it has ended why and what it used, as far as the backend knows.

    `wall_s` is how long its first worker ran, `message` what that worker left as its last word; `hopeless` says that it never started, and that
    another like it would not either.
    """

    phase: Phase
    exit_code: int | None = None
    reason: str = ""
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    wall_s: float | None = None
    message: str = ""
    hopeless: bool = False


class TrainingBackend(Protocol):
    """Runs attempts.

    Obligations:
    - `submit` is idempotent by handle: submitting an attempt again starts nothing.
    - An attempt's processes never outlive the backend's own process by more than 2 s, unless the backend is remote and keeps them under a lease.
    - `status`, `logs` and `cancel` of an unknown handle raise NotFound; of an ended one they still answer until `forget`.
    - `logs` gives whole lines, in order, each once, by offset; of several workers those of rank 0, others prefixed `[rank]`.
    - `cancel` returns when nothing of the attempt runs any more; cancelling what has ended does nothing.
    - A worker of a group that fails ends the whole group.
    - Called from one thread.
    """

    name: str

    def warm_up(self) -> None:
        """Prepare for the first attempt, without waiting; may do nothing."""
        ...

    def submit(self, attempt: Attempt) -> None:
        """Start the work.

        Raises:
            BadInput: this backend cannot run such a request.
            Unreachable: what it needs does not answer.
        """
        ...

    def status(self, handle: str) -> BackendStatus:
        """Where the work stands."""
        ...

    def logs(self, handle: str, offset: int = 0) -> tuple[list[str], int]:
        """Whole lines from `offset` on, and the offset to go on from."""
        ...

    def cancel(self, handle: str) -> None:
        """Stop the work and wait until it has stopped."""
        ...

    def forget(self, handle: str) -> None:
        """Release what is kept of an ended attempt."""
        ...

    def known(self) -> list[str]:
        """The handles of all attempts that it has not forgotten."""
        ...

    def close(self) -> None:
        """Stop everything and release what is held; the backend is not used again."""
        ...
