"""The three promised scripts of `training/optuna/`: studies with the flags that users were given."""

from __future__ import annotations

from typing import Annotated

import typer

from maestro.cli.console import JsonFlag, script
from maestro.cli.dimensions import dimensions_of
from maestro.cli.train import params_of
from maestro.cli.tune import (
    Backend,
    BudgetUsd,
    CostUnit,
    Dimensions,
    Experiment,
    Features,
    Html,
    Jobs,
    Minimise,
    Params,
    Pruner,
    Sampler,
    Seed,
    SpaceName,
    StudyName,
    TimeBudget,
    Tolerance,
    TrialCpu,
    TrialMemory,
    Trials,
    TrialTimeout,
    ValuePerPoint,
    Weights,
    run_request,
    study_request,
)

example = typer.Typer(add_completion=False, rich_markup_mode=None)
cost_aware = typer.Typer(add_completion=False, rich_markup_mode=None)
multi_objective = typer.Typer(add_completion=False, rich_markup_mode=None)


@example.command()
def run_example(
    study_name: StudyName, experiment_name: Experiment = None, n_trials: Trials = 50, n_jobs: Jobs = 1, features: Features = "digits_v1",
    space: SpaceName = "random_forest", sampler: Sampler = "tpe", pruner: Pruner = "median", seed: Seed = 0, html: Html = None, as_json: JsonFlag = False,
    backend: Backend = "local", trial_cpu: TrialCpu = 1.0, trial_memory: TrialMemory = "1Gi",
    dimension: Dimensions = None, param: Params = None, minimise: Minimise = None,
    objective: Annotated[str, typer.Option("--objective", help="Metric to search for.")] = "accuracy",
) -> None:  # fmt: skip
    """Search for the most accurate model; resumes a study of this name."""
    run_request(
        study_request(
            name=study_name, experiment=experiment_name, n_trials=n_trials, n_jobs=n_jobs, data={"feature_service": features}, space=space,
            sampler=sampler, pruner=pruner, seed=seed, backend=backend, trial_cpu=trial_cpu, trial_memory=trial_memory,
            dimensions=dimensions_of(dimension), params=params_of(param or []), minimise=tuple(minimise or ()), objectives=(objective,),
        ),
        html, as_json,
    )  # fmt: skip


@cost_aware.command()
def run_cost_aware(
    study_name: StudyName, experiment_name: Experiment = None,
    cost_weight: Annotated[float, typer.Option("--cost-weight", min=0.0, help="score − weight × seconds ÷ reference.")] = 0.3,
    cost_reference_seconds: Annotated[float | None, typer.Option("--cost-reference-seconds", help="Default: the median of the first five trials.")] = None,
    time_budget: TimeBudget = 300.0, n_trials: Trials = 1000, n_jobs: Jobs = 1, features: Features = "digits_v1", space: SpaceName = "random_forest",
    cost_unit: CostUnit = "seconds", budget_usd: BudgetUsd = None, value_per_point_usd: ValuePerPoint = None,
    trial_timeout: TrialTimeout = 1800.0, seed: Seed = 0, html: Html = None, as_json: JsonFlag = False,
    backend: Backend = "local", trial_cpu: TrialCpu = 1.0, trial_memory: TrialMemory = "1Gi",
    dimension: Dimensions = None, param: Params = None, minimise: Minimise = None,
    objective: Annotated[str, typer.Option("--objective", help="Metric to search for.")] = "accuracy",
) -> None:  # fmt: skip
    """Search for the model that is worth its training time; ends with the time budget or after --n-trials."""
    run_request(
        study_request(
            name=study_name, experiment=experiment_name, n_trials=n_trials, n_jobs=n_jobs, data={"feature_service": features}, space=space,
            cost_weight=cost_weight, cost_reference_s=cost_reference_seconds, timeout_s=time_budget, trial_timeout_s=trial_timeout, seed=seed,
            cost_unit=cost_unit, budget_usd=budget_usd, value_per_point_usd=value_per_point_usd,
            backend=backend, trial_cpu=trial_cpu, trial_memory=trial_memory,
            dimensions=dimensions_of(dimension), params=params_of(param or []), minimise=tuple(minimise or ()), objectives=(objective,),
        ),
        html, as_json,
    )  # fmt: skip


@multi_objective.command()
def run_multi_objective(
    study_name: StudyName, experiment_name: Experiment = None,
    selection_strategy: Annotated[str, typer.Option("--selection-strategy", help="balanced, knee, weighted or lexicographic.")] = "balanced",
    objective: Annotated[list[str] | None, typer.Option(help="Default: accuracy and f1; may be repeated.")] = None,
    weight: Weights = None, tolerance: Tolerance = 0.01, sampler: Sampler = "tpe", pruner: Pruner = "median",
    n_trials: Trials = 20, n_jobs: Jobs = 1, features: Features = "digits_v1", space: SpaceName = "random_forest", seed: Seed = 0,
    html: Html = None, as_json: JsonFlag = False, backend: Backend = "local", trial_cpu: TrialCpu = 1.0, trial_memory: TrialMemory = "1Gi",
    dimension: Dimensions = None, param: Params = None, minimise: Minimise = None,
) -> None:  # fmt: skip
    """Search for several things at once; takes one model from the Pareto front by the strategy."""
    run_request(
        study_request(
            name=study_name, experiment=experiment_name, n_trials=n_trials, n_jobs=n_jobs, data={"feature_service": features}, space=space,
            objectives=tuple(objective or ["accuracy", "f1"]), selection_strategy=selection_strategy, seed=seed,
            selection_weights=tuple(weight) if weight else None, selection_tolerance=tolerance, sampler=sampler, pruner=pruner,
            backend=backend, trial_cpu=trial_cpu, trial_memory=trial_memory,
            dimensions=dimensions_of(dimension), params=params_of(param or []), minimise=tuple(minimise or ()),
        ),
        html, as_json,
    )  # fmt: skip


example_main = script(example, "optuna-study-example.py")
cost_aware_main = script(cost_aware, "cost-aware-optimizer.py")
multi_objective_main = script(multi_objective, "multi-objective-tuning.py")
