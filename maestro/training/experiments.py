"""Experiments over MLflow: each belongs to a tenant, keeps who made it and from which commit, and its runs' parameters and metrics by version and step."""

from __future__ import annotations

import uuid

from sqlalchemy import ColumnElement, RowMapping, func, select
from sqlalchemy.exc import IntegrityError

from maestro.clients.database.schema.training import ai_experiment_params as params
from maestro.clients.database.schema.training import ai_experiments as experiments
from maestro.clients.database.schema.training import experiment_summary as view
from maestro.clients.mlflow import MetricPoint, RunInfo, Tracking
from maestro.core.errors import Conflict, NotFound
from maestro.core.model import Model, Time
from maestro.core.principals import Principal, PrincipalRole
from maestro.training.naming import experiment_name
from maestro.training.store import JobStore


class Experiment(Model):
    """One experiment."""

    id: str
    tenant_id: str
    name: str
    mlflow_experiment_id: str | None = None
    git_commit: str | None = None
    tags: dict[str, str] = {}
    created_by: str
    created_at: Time


class MetricSummary(Model):
    """One metric over an experiment's runs (the view `experiment_summary`)."""

    metric: str
    runs: int
    lowest: float
    highest: float


class Experiments:
    """The experiments of one platform. Thread-safe.

    Args:
        jobs: gives database, clock and audit.
        tracking: MLflow, in which the runs are.
    """

    def __init__(self, jobs: JobStore, tracking: Tracking) -> None:
        self._jobs = jobs
        self._database = jobs.database
        self._tracking = tracking

    def create(
        self,
        name: str,
        by: Principal,
        *,
        tenant_id: str = "default",
        git_commit: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> Experiment:
        """Create an experiment here and in MLflow.

        Raises:
            Conflict: the tenant has one of this name.
            NotFound: the tenant is not one of the principal's.
            Unreachable: MLflow does not answer.
        """
        by.require(PrincipalRole.SUBMITTER)
        if not by.may_see(tenant_id):
            raise NotFound(f"tenant {tenant_id!r} is not yours", field="tenant_id", remedy="use one of your tenants")
        remote = self._tracking.experiment(
            experiment_name(tenant_id, name), {"maestro.tenant": tenant_id} | (tags or {})
        )
        row = {
            "id": f"exp-{uuid.uuid4().hex[:20]}", "tenant_id": tenant_id, "name": experiment_name(tenant_id, name),
            "mlflow_experiment_id": remote, "git_commit": git_commit, "tags": tags or {}, "created_by": by.actor,
            "created_at": self._jobs.clock.now(),
        }  # fmt: skip
        try:
            with self._database.begin() as connection:
                connection.execute(experiments.insert().values(**row))
                self._jobs.audit.append(
                    connection,
                    actor=by.actor,
                    action="experiment.create",
                    subject=f"experiment/{row['id']}",
                    outcome="done",
                    data={"name": name},
                )
        except IntegrityError:
            raise Conflict(f"experiment {name!r} exists", field="name", remedy="choose another name") from None
        return Experiment.model_validate(row)

    def page(
        self,
        by: Principal,
        *,
        name: str | None = None,
        tenant_id: str | None = None,
        page: int = 1,
        page_size: int = 50,
    ) -> tuple[list[Experiment], int]:
        """A page of experiments, newest first, and how many there are."""
        by.require(PrincipalRole.VIEWER, PrincipalRole.APPROVER)
        where: list[ColumnElement[bool]] = [experiments.c.tenant_id.in_(by.tenants)] if by.tenants else []
        if tenant_id is not None:
            where.append(experiments.c.tenant_id == tenant_id)
        if name is not None:
            where.append(experiments.c.name == name)
        with self._database.read() as connection:
            total = connection.execute(select(func.count()).select_from(experiments).where(*where)).scalar_one()
            rows = connection.execute(
                select(experiments).where(*where).order_by(experiments.c.created_at.desc(), experiments.c.id)
                .limit(page_size).offset((page - 1) * page_size)
            ).mappings()  # fmt: skip
            return [_experiment(row) for row in rows], int(total)

    def get(self, experiment_id: str, by: Principal) -> Experiment:
        """One experiment.

        Raises:
            NotFound: there is none, or it is another tenant's.
        """
        by.require(PrincipalRole.VIEWER, PrincipalRole.APPROVER)
        with self._database.read() as connection:
            row = connection.execute(select(experiments).where(experiments.c.id == experiment_id)).mappings().first()
        if row is None or not by.may_see(row["tenant_id"]):
            raise NotFound(
                f"experiment {experiment_id!r} does not exist",
                field="experiment_id",
                remedy="list the experiments to see their ids",
            )
        return _experiment(row)

    def runs(self, experiment_id: str, by: Principal, limit: int = 200) -> list[RunInfo]:
        """Its runs as MLflow has them, newest first."""
        experiment = self.get(experiment_id, by)
        return (
            self._tracking.runs([experiment.mlflow_experiment_id], limit=limit)
            if experiment.mlflow_experiment_id
            else []
        )

    def run(self, run_id: str, by: Principal) -> RunInfo:
        """One run.

        Raises:
            NotFound: there is none, or it is another tenant's.
        """
        by.require(PrincipalRole.VIEWER, PrincipalRole.APPROVER)
        found = self._tracking.run(run_id)
        if not by.may_see(found.tags.get("maestro.tenant", "default")):
            raise NotFound(f"run {run_id!r} does not exist", field="run_id", remedy="list the runs of an experiment")
        return found

    def metric(self, run_id: str, name: str, by: Principal) -> list[MetricPoint]:
        """One metric of a run as a series over its steps."""
        self.run(run_id, by)
        return self._tracking.metric_history(run_id, name)

    def summary(self, experiment_id: str, by: Principal) -> list[MetricSummary]:
        """The lowest and highest value of each metric over the published runs."""
        self.get(experiment_id, by)
        with self._database.read() as connection:
            rows = connection.execute(
                select(view.c.metric, view.c.runs, view.c.lowest, view.c.highest)
                .where(view.c.experiment_id == experiment_id, view.c.metric.is_not(None)).order_by(view.c.metric)
            ).all()  # fmt: skip
        return [MetricSummary(metric=name, runs=runs, lowest=low, highest=high) for name, runs, low, high in rows]

    def params(self, experiment_id: str, run_id: str, by: Principal) -> dict[str, str]:
        """The parameters that a published run was recorded with."""
        self.get(experiment_id, by)
        with self._database.read() as connection:
            rows = connection.execute(
                select(params.c.name, params.c.value).where(params.c.experiment_id == experiment_id, params.c.run_id == run_id)
                .order_by(params.c.name, params.c.version)
            ).all()  # fmt: skip
        return {str(name): str(value) for name, value in rows}


def _experiment(row: RowMapping) -> Experiment:
    return Experiment(**{name: row[name] for name in Experiment.model_fields})
