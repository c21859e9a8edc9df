"""Training jobs as the story's submitter sends them, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maestro.core.errors import NegativeVerdict
from maestro.lifecycle.demo.stage import Stage

JOB_TIMEOUT_S = 300.0


def request(
    name: str, service: str, params: dict[str, Any], *, priority: str = "normal", **data: str
) -> dict[str, Any]:
    """A job request (formats.md)."""
    return {
        "name": name,
        "model_type": "classifier",
        "priority": priority,
        "backend": "local",
        "data": {"feature_service": service, **data},
        "params": params,
        "timeout_s": 300,
        "max_retries": 1,
    }


def submit(stage: Stage, body: dict[str, Any], actor: str = "submitter", *, register: bool = True) -> str:
    """Submit a job over REST, by default to register a version of the story's model; returns its id."""
    key = {"Idempotency-Key": f"demo-{stage.model}-{body['name']}"}
    body = body | ({"register_as": stage.model} if register else {})
    answer = stage.api(actor).post("/ai/training/jobs/start", body, headers=key)
    return str(answer["id"])


def wait_ended(stage: Stage, jobs: Sequence[str]) -> list[dict[str, Any]]:
    """The jobs once all have ended.

    Raises:
        NegativeVerdict: one did not complete; its error is in the message.
    """
    client = stage.api("submitter")

    def ended() -> list[dict[str, Any]] | None:
        found = [client.get(f"/ai/training/jobs/{job}") for job in jobs]
        done = sum(job["status"] not in {"queued", "running"} for job in found)
        running = next((job for job in found if job["status"] == "running"), None)
        said = f"{running['name']}: {running.get('message') or 'running'}" if running else "waiting for a worker"
        stage.progress.update(done / len(found), said)
        return found if done == len(found) else None

    found = stage.wait_for("the end of training", ended, JOB_TIMEOUT_S, 0.4)
    for job in found:
        if job["status"] != "completed":
            error = job.get("error") or {}
            raise NegativeVerdict(f"job {job['name']} {job['status']}: {error.get('detail', 'no reason given')}")
    return found


def wait_version(stage: Stage, run_id: str) -> dict[str, Any]:
    """The version that registration made of a run."""
    client = stage.api("submitter")

    def registered() -> dict[str, Any] | None:
        items = client.get("/versions", model=stage.model, page_size=200)["items"]
        return next((item for item in items if item["run_id"] == run_id), None)

    return stage.wait_for(f"registration of run {run_id}", registered, 60.0, 0.3)
