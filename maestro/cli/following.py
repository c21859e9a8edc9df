"""Follows a job to its end, and tells how it ended."""

from __future__ import annotations

import json
import time
from typing import Any

import typer

from maestro.cli.console import progress
from maestro.clients.api import ApiClient
from maestro.core.errors import NegativeVerdict, Unreachable
from maestro.core.jobs import JobStatus

_JOBS = "/ai/training/jobs"


def follow(client: ApiClient, job_id: str, *, quiet: bool = False, what: str = "job") -> dict[str, Any]:
    """Wait for a job's end, with a bar; a stream that breaks is opened again for a minute.

    Raises:
        Unreachable: the API stayed away.
    """
    with progress(f"{what} {job_id}") as bar:
        lost_at: float | None = None
        while True:
            try:
                for event in client.events(f"{_JOBS}/{job_id}/progress"):
                    lost_at = None
                    data = json.loads(event.get("data", "{}"))
                    queue = data.get("queue")
                    words = f"place {queue['position']}: {queue['reason']}" if queue else str(data.get("message") or "")
                    if not quiet:
                        bar.update(float(data.get("progress", 0.0)), f"{what}: {words}" if what != "job" else words)
                    if event.get("event") == "end":
                        job: dict[str, Any] = client.get(f"{_JOBS}/{job_id}")
                        return job
            except Unreachable:
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > 60:
                    raise
            time.sleep(0.5)


def end_with(job: dict[str, Any], as_json: bool) -> None:
    """End with status 1 when a job did not complete; a person is told why, a script has read it in the document."""
    if job["status"] == JobStatus.COMPLETED:
        return
    if as_json:
        raise typer.Exit(NegativeVerdict.exit_code)
    raise NegativeVerdict(
        f"job {job['id']} {job['status']}: {why(job)}", remedy=f"see `maestro train logs {job['id']}`"
    )


def why(job: dict[str, Any]) -> str:
    """What went wrong, and what to do about it."""
    error = job.get("error") or {}
    remedy = f" → {error['remedy']}" if error.get("remedy") else ""
    return f"{error.get('detail') or job.get('message') or ''}{remedy}"
