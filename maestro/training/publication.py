"""What a published attempt leaves in the promised tables of experiments."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from maestro.clients.database.schema.training import (
    ai_experiment_metrics,
    ai_experiment_params,
    ai_experiments,
)
from maestro.training.job import Lease, Outcome


def record_experiment(connection: Connection, lease: Lease, outcome: Outcome, now: datetime) -> None:
    """Keep the attempt's metrics and parameters beside MLflow, so that the promised tables and views hold them."""
    if outcome.run_id is None or outcome.experiment is None:
        return
    tenant = lease.request.tenant_id
    where = (ai_experiments.c.tenant_id == tenant, ai_experiments.c.name == outcome.experiment)
    experiment = connection.execute(select(ai_experiments.c.id).where(*where)).scalar()
    if experiment is None:
        insert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
        # two jobs of one experiment may end at once: the first row stands
        connection.execute(
            insert(ai_experiments).values(
                id=f"exp-{lease.job_id.removeprefix('job-')}", tenant_id=tenant, name=outcome.experiment,
                mlflow_experiment_id=outcome.experiment_id, git_commit=outcome.details.get("git_commit"), tags={},
                created_by=lease.submitted_by, created_at=now,
            ).on_conflict_do_nothing()
        )  # fmt: skip
        experiment = connection.execute(select(ai_experiments.c.id).where(*where)).scalar_one()
    metrics = [
        {"experiment_id": experiment, "run_id": outcome.run_id, "name": name, "value": value, "step": 0, "at": now}
        for name, value in outcome.metrics.items()
    ]
    known: dict[str, tuple[int, str]] = {}
    versions = (
        select(ai_experiment_params.c.name, ai_experiment_params.c.version, ai_experiment_params.c.value)
        .where(ai_experiment_params.c.experiment_id == experiment, ai_experiment_params.c.run_id == outcome.run_id)
        .order_by(ai_experiment_params.c.version)
    )  # fmt: skip
    for name, version, value in connection.execute(versions):
        known[name] = (version, value)
    # a run that is continued (a resumed study) keeps the earlier values under their versions
    params = [
        {
            "experiment_id": experiment,
            "run_id": outcome.run_id,
            "name": name,
            "version": known.get(name, (0, ""))[0] + 1,
            "value": value,
            "at": now,
        }
        for name, value in outcome.params.items()
        if name not in known or known[name][1] != value
    ]
    if metrics:
        connection.execute(ai_experiment_metrics.insert(), metrics)
    if params:
        connection.execute(ai_experiment_params.insert(), params)
