"""What a version has cost so far: its training, the search before it, its rollouts."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, func, or_, select

from maestro.clients.database.schema.governance import model_versions, rollouts
from maestro.clients.database.schema.operations import cost_entries
from maestro.clients.database.schema.training import ai_training_jobs
from maestro.clients.database.schema.tuning import ai_hpo_trials
from maestro.core.money import MicroUsd, round_micros
from maestro.core.rates import load_rates


def version_cost(connection: Connection, model: str, version: str) -> MicroUsd:
    """Training + tuning + rollout of a version, in micro-dollars.

    Training is every attempt that was billed for its job, or what its registration said; tuning is the study that the job names as
    `params.study_id`; a rollout is the challenger's share of one core for as long as it was served.
    """
    row = connection.execute(
        select(model_versions.c.job_id, model_versions.c.cost_usd_micros).where(
            model_versions.c.model == model, model_versions.c.version == version
        )
    ).one_or_none()
    total = 0
    if row is not None:
        billed, study = _training(connection, row.job_id)
        total = max(row.cost_usd_micros, billed) + (_tuning(connection, study) if study else 0)
    states = connection.execute(
        select(rollouts.c.state).where(rollouts.c.model == model, rollouts.c.challenger == version)
    ).scalars()
    return total + sum(rollout_cost(state) for state in states)


def rollout_cost(state: dict[str, Any]) -> MicroUsd:
    """The challenger's share of one core over a rollout, from its `challenger_core_ms`."""
    return round_micros(load_rates().micros(core_seconds=Fraction(int(state.get("challenger_core_ms", 0)), 1000)))


def _training(connection: Connection, job_id: str | None) -> tuple[MicroUsd, str | None]:
    if job_id is None:
        return 0, None
    job = connection.execute(
        select(ai_training_jobs.c.request, ai_training_jobs.c.cost_usd_micros).where(ai_training_jobs.c.id == job_id)
    ).one_or_none()
    entries = connection.execute(
        select(func.coalesce(func.sum(cost_entries.c.bill_usd_micros), 0)).where(
            cost_entries.c.kind == "training",
            or_(cost_entries.c.subject == job_id, cost_entries.c.subject == f"job/{job_id}"),
        )
    ).scalar_one()
    if job is None:
        return int(entries), None
    study = (job.request.get("params") or {}).get("study_id")
    return max(int(job.cost_usd_micros), int(entries)), str(study) if study else None


def _tuning(connection: Connection, study: str) -> MicroUsd:
    return int(
        connection.execute(
            select(func.coalesce(func.sum(ai_hpo_trials.c.cost_usd_micros), 0)).where(ai_hpo_trials.c.study_id == study)
        ).scalar_one()
    )
