"""Experiments and runs over MLflow (`/ai/experiments`)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, status
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from maestro.api.auth import CurrentPlatform, CurrentPrincipal
from maestro.api.bodies import Strict
from maestro.api.routes.training import Page, PageSize
from maestro.clients.mlflow import MetricPoint, RunInfo
from maestro.core.model import Name
from maestro.training.experiments import Experiment, MetricSummary

router = APIRouter(prefix="/ai/experiments", tags=["experiments"])

ExperimentId = Annotated[
    str, Path(description="the experiment", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")
]
RunId = Annotated[str, Path(description="the MLflow run", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
MetricName = Annotated[str, Path(description="the metric", min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.-]+$")]
TagName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.-]+$")]
TagValue = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]


class NewExperiment(BaseModel):
    """An experiment to create."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    tenant_id: Name = "default"
    git_commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}$")] | None = None
    tags: dict[TagName, TagValue] = Field(
        default_factory=dict, max_length=50, json_schema_extra={"additionalProperties": False}
    )


class ExperimentPage(BaseModel):
    """A page of experiments, newest first."""

    items: list[Experiment]
    page: int
    page_size: int
    total: int


class ExperimentSummary(BaseModel):
    """The extremes of each metric over the published runs."""

    experiment_id: str
    metrics: list[MetricSummary]


class Runs(BaseModel):
    """Runs, newest first."""

    items: list[RunInfo]


class MetricSeries(BaseModel):
    """One metric over its steps."""

    run_id: str
    metric: str
    points: list[MetricPoint]


@router.post("", status_code=status.HTTP_201_CREATED)
def create(body: Strict[NewExperiment], platform: CurrentPlatform, caller: CurrentPrincipal) -> Experiment:
    """Create an experiment here and in MLflow."""
    return platform.training.experiments.create(
        body.name, caller, tenant_id=body.tenant_id, git_commit=body.git_commit, tags=dict(body.tags)
    )


@router.get("")
def list_experiments(
    platform: CurrentPlatform, caller: CurrentPrincipal, name: Annotated[str | None, Query(max_length=256)] = None,
    tenant_id: Annotated[Name | None, Query()] = None, page: Page = 1, page_size: PageSize = 50,
) -> ExperimentPage:  # fmt: skip
    """Experiments of the caller's tenants."""
    found, total = platform.training.experiments.page(
        caller, name=name, tenant_id=tenant_id, page=page, page_size=page_size
    )
    return ExperimentPage(items=found, page=page, page_size=page_size, total=total)


@router.get("/runs/{run_id}")
def run(run_id: RunId, platform: CurrentPlatform, caller: CurrentPrincipal) -> RunInfo:
    """One run with its parameters and last metrics."""
    return platform.training.experiments.run(run_id, caller)


@router.get("/runs/{run_id}/metrics/{metric}")
def metric(run_id: RunId, metric: MetricName, platform: CurrentPlatform, caller: CurrentPrincipal) -> MetricSeries:
    """One metric as a series."""
    points = platform.training.experiments.metric(run_id, metric, caller)
    return MetricSeries(run_id=run_id, metric=metric, points=points)


@router.get("/{experiment_id}")
def read(experiment_id: ExperimentId, platform: CurrentPlatform, caller: CurrentPrincipal) -> Experiment:
    """One experiment."""
    return platform.training.experiments.get(experiment_id, caller)


@router.get("/{experiment_id}/runs")
def runs(
    experiment_id: ExperimentId,
    platform: CurrentPlatform,
    caller: CurrentPrincipal,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Runs:
    """Its runs as MLflow has them."""
    return Runs(items=platform.training.experiments.runs(experiment_id, caller, limit))


@router.get("/{experiment_id}/summary")
def summary(experiment_id: ExperimentId, platform: CurrentPlatform, caller: CurrentPrincipal) -> ExperimentSummary:
    """Lowest and highest value of each metric."""
    return ExperimentSummary(
        experiment_id=experiment_id, metrics=platform.training.experiments.summary(experiment_id, caller)
    )
