"""The platform from Python: what the commands do, as functions. `import maestro` offers each of them as `maestro.<name>`.

Law: no logic of its own. Remote operations call the control plane or the model server, found and authenticated as the commands
do it (`MAESTRO_API_URL`, `MAESTRO_SERVER_URL`, `MAESTRO_API_KEY`, else the running `make up`); local ones call the same
function as the command. Documents go in and come out as JSON-like dictionaries. Failures are `maestro.core.errors`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from maestro.clients.api import ApiClient
from maestro.core.errors import BadInput, NegativeVerdict, Unreachable
from maestro.core.jobs import JobRequest, JobStatus
from maestro.core.policy import RolloutPolicy

if TYPE_CHECKING:
    import pandas as pd

    from maestro.decisions.sample_size import SampleSize
    from maestro.monitoring.drift import DriftCheck

Document = dict[str, Any]
"""A JSON object as the REST API answers it."""

PAGE_SIZE = 200
"""Items asked for at once by the functions that list."""


def train(request: JobRequest | Mapping[str, Any], *, key: str | None = None, wait_s: float | None = None) -> Document:
    """Submit a training job (`maestro train submit`).

    Args:
        request: the job, as `JobRequest` or its document.
        key: idempotency key: submitting twice with one key gives one job.
        wait_s: wait so many seconds for its end; None returns at once.

    Returns:
        The job.

    Raises:
        BadInput: a field of the request is wrong; it is named.
        NegativeVerdict: it was waited for and did not complete.
        Unreachable: no service answers, or the job did not end in time.
    """
    body = request.document() if isinstance(request, JobRequest) else dict(request)
    with _api() as api:
        found: Document = api.post("/ai/training/jobs/start", body, headers={"Idempotency-Key": key} if key else None)
    return found if wait_s is None else wait(found["id"], timeout_s=wait_s)


def wait(job_id: str, *, timeout_s: float = 3600.0, poll_s: float = 0.5) -> Document:
    """The job once it has completed.

    Raises:
        NegativeVerdict: it failed or was cancelled.
        Unreachable: it did not end within `timeout_s`; it goes on.
    """
    end = time.monotonic() + timeout_s
    while not JobStatus((found := job(job_id))["status"]).is_final:
        if time.monotonic() >= end:
            raise Unreachable(f"job {job_id} is {found['status']} after {timeout_s:g} s", remedy="wait longer")
        time.sleep(poll_s)
    if found["status"] != JobStatus.COMPLETED:
        reason = (found.get("error") or {}).get("detail", "no reason is recorded")
        raise NegativeVerdict(f"job {job_id} is {found['status']}: {reason}", remedy=f"maestro train logs {job_id}")
    return found


def job(job_id: str) -> Document:
    """One training job."""
    return _get(f"/ai/training/jobs/{job_id}")


def jobs(**filters: Any) -> Iterator[Document]:
    """Training jobs, newest first; filters `tenant_id`, `status`, `model_type`, `priority`."""
    return _pages("/ai/training/jobs", filters)


def cancel(job_id: str) -> Document:
    """Cancel a job."""
    with _api() as api:
        found: Document = api.delete(f"/ai/training/jobs/{job_id}")
    return found


def retry(job_id: str) -> Document:
    """Queue a failed or cancelled job again, with its configuration."""
    return _post(f"/ai/training/jobs/{job_id}/retry")


def tune(request: Mapping[str, Any]) -> Document:
    """Start a hyperparameter study, or resume the one of this name (`maestro tune`)."""
    return _post("/ai/hpo/studies/start", dict(request))


def study(study_id: str) -> Document:
    """One study."""
    return _get(f"/ai/hpo/studies/{study_id}")


def versions(model: str | None = None, **filters: Any) -> Iterator[Document]:
    """Registered versions, newest first (`maestro versions list`)."""
    return _pages("/versions", {"model": model, **filters})


def version(model: str, number: str) -> Document:
    """One version, by semantic version or registry number."""
    return _get(f"/versions/{model}/{number}")


def lineage(*, run_id: str | None = None, model: str | None = None) -> Document:
    """Where a run, or every version of a model, comes from and went to (`maestro lineage get`).

    Raises:
        BadInput: give one of `run_id` and `model`.
    """
    if (run_id is None) == (model is None):
        raise BadInput("give one of run_id and model", field="run_id", remedy="maestro.lineage(model='m')")
    return _get(f"/lineage/runs/{run_id}" if run_id is not None else f"/lineage/models/{model}")


def submit(model: str, number: str, policy: str | RolloutPolicy = "default") -> Document:
    """Run the gates and ask for approval (`maestro approval submit`); the answer's `status` tells which."""
    return _post("/approvals", {"model": model, "version": number, "policy": _policy(policy)})


def approve(approval_id: str, comment: str = "") -> Document:
    """Approve as the person whose key is used."""
    return _post(f"/approvals/{approval_id}/approve", {"comment": comment})


def refuse(approval_id: str, comment: str = "") -> Document:
    """Refuse as the person whose key is used."""
    return _post(f"/approvals/{approval_id}/refuse", {"comment": comment})


def approvals(**filters: Any) -> Iterator[Document]:
    """Requests for approval, newest first."""
    return _pages("/approvals", filters)


def deploy(
    model: str, number: str, policy: str | RolloutPolicy = "default", *, strategy: str | None = None
) -> Document:
    """Check the gates and start a rollout in the background (`maestro deploy start`); follow it with `rollout`."""
    return _post("/rollouts", {"model": model, "version": number, "policy": _policy(policy), "strategy": strategy})


def rollout(rollout_id: str) -> Document:
    """A rollout with its latest decision."""
    return _get(f"/rollouts/{rollout_id}")


def rollouts(model: str | None = None, **filters: Any) -> Iterator[Document]:
    """Rollouts, newest first."""
    return _pages("/rollouts", {"model": model, **filters})


def rollback(model: str, to: str | None = None) -> Document:
    """Give all traffic at once to a version that was promoted before."""
    return _post("/rollouts/rollback", {"model": model, "to": to})


def decision_records(model: str | None = None, **filters: Any) -> Iterator[Document]:
    """Decision records, newest first; filters `version`, `rollout`, `kind`."""
    return _pages("/decisions", {"model": model, **filters})


def replay(ids: Sequence[str] = (), *, rollout: str | None = None) -> Document:
    """Compute decisions again from their records; `ok` is false when one does not come out as it stands."""
    return _post("/decisions/replay", {"ids": list(ids), "rollout": rollout})


def predict(
    instances: Sequence[Any] | None = None,
    *,
    model: str | None = None,
    entities: Sequence[Mapping[str, Any]] | None = None,
    context: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Predictions of the model server, one a row.

    Args:
        instances: rows of numbers, or objects by column.
        model: needed when several are served.
        entities: keys of the entities; without `instances` their features come from the online store.
        context: values by name that a split may stick to.
    """
    body = {"instances": instances, "model": model, "entities": entities, "context": context}
    with _api("server") as server:
        answer = server.post("/predict", {name: value for name, value in body.items() if value is not None})
    return list(answer["predictions"])


def drift(
    reference: Path | str | pd.DataFrame,
    current: Path | str | pd.DataFrame,
    *,
    dataset: str = "current",
    **options: Any,
) -> DriftCheck:
    """Judge current data against a reference (`maestro drift run`), in this process.

    Args:
        reference: a table, or the path of a Parquet, CSV or profile file.
        current: a table, or the path of a Parquet or CSV file.
        dataset: the name of what is watched.
        options: `threshold`, `material`, `high`, `critical`, `confidence`, `target`.

    Raises:
        BadInput: an option is out of range, or a column is missing or of another type.
    """
    from maestro.monitoring.drift import DriftOptions, Reference, check_drift, load_reference, read_table

    paths = (str, Path)
    base = (
        load_reference(Path(reference), "reference")
        if isinstance(reference, paths)
        else Reference.of(reference, "table")
    )
    table = read_table(Path(current), "current") if isinstance(current, paths) else current
    return check_drift(base, table, dataset, DriftOptions(**options))


def sample_size(
    champion: float,
    challenger: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    mode: Literal["fixed", "planned", "always_valid"] = "fixed",
) -> SampleSize:
    """Units of each arm to tell two rates apart (`maestro ab sample-size`), in this process.

    >>> sample_size(0.10, 0.12).champion
    3841
    """
    from maestro.decisions.sample_size import for_proportions

    return for_proportions(champion, challenger, alpha=alpha, power=power, mode=mode)


@contextmanager
def _api(service: str = "api") -> Iterator[ApiClient]:
    client = ApiClient.of(service=service)
    try:
        yield client
    finally:
        client.close()


def _get(path: str) -> Document:
    with _api() as api:
        found: Document = api.get(path)
    return found


def _post(path: str, body: Mapping[str, Any] | None = None) -> Document:
    with _api() as api:
        found: Document = api.post(path, body)
    return found


def _pages(path: str, filters: Mapping[str, Any]) -> Iterator[Document]:
    page, seen = 1, 0
    while True:
        with _api() as api:
            found = api.get(path, page=page, page_size=PAGE_SIZE, **filters)
        yield from found["items"]
        seen += len(found["items"])
        if not found["items"] or seen >= found["total"]:
            return
        page += 1


def _policy(policy: str | RolloutPolicy) -> Document:
    from maestro.governance.policies import read_policy

    return (read_policy(policy) if isinstance(policy, str) else policy).document()
