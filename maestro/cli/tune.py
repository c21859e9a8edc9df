"""`maestro tune`: hyperparameter studies on this machine, or submitted to the API."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from maestro.cli.console import JsonFlag, emit, out, progress, table
from maestro.cli.dimensions import dimensions_of
from maestro.cli.train import params_of
from maestro.clients.home import Home, service_url
from maestro.core.errors import from_validation
from maestro.core.money import format_usd
from maestro.core.settings import settings
from maestro.training.search.request import StudyRequest
from maestro.training.search.scoring import Best

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Hyperparameter search.")

StudyName = Annotated[str, typer.Option("--study-name", help="A study of this name is resumed.")]
Experiment = Annotated[
    str | None, typer.Option("--experiment-name", help="MLflow experiment; default: the study's name.")
]
Trials = Annotated[
    int, typer.Option("--n-trials", min=1, help="Trials in all; a study that has them is only reported.")
]
Jobs = Annotated[int, typer.Option("--n-jobs", min=1, max=16, help="Trials at once.")]
Features = Annotated[str, typer.Option("--features", help="Feature service.")]
SpaceName = Annotated[
    str,
    typer.Option(
        "--space",
        help="random_forest, gradient_boosting, logistic_regression, forecast, anomaly; or with --dimension any kind of model, also a plugged-in one.",
    ),
]
Dimensions = Annotated[
    list[str] | None,
    typer.Option(
        "--dimension",
        help="What is searched, instead of the space's own ranges: depth=int:1:9, rate=float:0.001:1:log, kind=choice:a,b; may be repeated.",
    ),
]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", help="A parameter that is not searched, as name=value; may be repeated."),
]
Minimise = Annotated[
    list[str] | None,
    typer.Option("--minimise", help="An objective of a plugged-in kind of model of which less is better."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of sampler, folds and models.")]
TimeBudget = Annotated[
    float | None, typer.Option("--time-budget", min=0.001, help="Seconds after which no trial is started.")
]
TrialTimeout = Annotated[float, typer.Option("--trial-timeout", min=0.001, help="Seconds for one trial at most.")]
Sampler = Annotated[
    str, typer.Option("--sampler", help="frugal_tpe, tpe, multivariate_tpe, gp, cmaes, random or grid.")
]
Pruner = Annotated[str, typer.Option("--pruner", help="median, hyperband, race or none.")]
Backend = Annotated[
    str,
    typer.Option("--backend", help="Where trials run: local (processes), or each a job of kubeflow or trainer."),
]
TrialCpu = Annotated[float, typer.Option("--trial-cpu", min=0.001, max=16, help="Cores of a trial's job.")]
TrialMemory = Annotated[str, typer.Option("--trial-memory", help="Memory of a trial's job, such as 512Mi.")]
BudgetUsd = Annotated[
    float | None,
    typer.Option(
        "--budget-usd", min=1e-6, help="Dollars for all trials; a trial's worst case is set aside before it starts."
    ),
]
CostUnit = Annotated[
    str, typer.Option("--cost-unit", help="seconds (÷ the reference) or usd (dollars by the rate card).")
]
ValuePerPoint = Annotated[
    float | None,
    typer.Option(
        "--value-per-point-usd",
        min=0.0,
        help="End when the next trial costs more than its expected gain: dollars that a hundredth of score is worth.",
    ),
]
Weights = Annotated[
    list[float] | None,
    typer.Option("--weight", min=0.0, help="For `weighted`: one for each objective, in their order."),
]
Tolerance = Annotated[
    float,
    typer.Option(
        "--tolerance",
        min=0.0,
        max=1.0,
        help="For `lexicographic`: share of its range given up in an objective for the next.",
    ),
]
Html = Annotated[Path | None, typer.Option("--html", help="Write history and importance to this file.")]


@app.command()
def run(
    study_name: StudyName,
    experiment_name: Experiment = None,
    n_trials: Trials = 20,
    n_jobs: Jobs = 1,
    features: Features = "digits_v1",
    space: SpaceName = "random_forest",
    dimension: Dimensions = None,
    param: Params = None,
    sampler: Sampler = "tpe",
    pruner: Pruner = "median",
    objective: Annotated[
        list[str] | None, typer.Option(help="Metric to search for; up to three; `seconds` is one.")
    ] = None,
    minimise: Minimise = None,
    cost_weight: Annotated[float, typer.Option(min=0.0, help="score − weight × seconds ÷ reference.")] = 0.0,
    cost_reference_seconds: Annotated[
        float | None, typer.Option(help="Default: the median of the first five trials.")
    ] = None,
    cost_unit: CostUnit = "seconds",
    budget_usd: BudgetUsd = None,
    value_per_point_usd: ValuePerPoint = None,
    selection_strategy: Annotated[str, typer.Option(help="balanced, knee, weighted or lexicographic.")] = "balanced",
    weight: Weights = None,
    tolerance: Tolerance = 0.01,
    time_budget: TimeBudget = None,
    trial_timeout: TrialTimeout = 1800.0,
    backend: Backend = "local",
    trial_cpu: TrialCpu = 1.0,
    trial_memory: TrialMemory = "1Gi",
    seed: Seed = 0,
    submit: Annotated[bool, typer.Option("--submit", help="Let a worker run it, through the API.")] = False,
    html: Html = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a study, or resume it."""
    request = study_request(
        name=study_name, experiment=experiment_name, n_trials=n_trials, n_jobs=n_jobs, data={"feature_service": features}, space=space,
        sampler=sampler, pruner=pruner, objectives=tuple(objective or ["accuracy"]), cost_weight=cost_weight,
        cost_reference_s=cost_reference_seconds, selection_strategy=selection_strategy, timeout_s=time_budget,
        trial_timeout_s=trial_timeout, seed=seed, cost_unit=cost_unit, budget_usd=budget_usd, value_per_point_usd=value_per_point_usd,
        selection_weights=tuple(weight) if weight else None, selection_tolerance=tolerance, backend=backend, trial_cpu=trial_cpu,
        trial_memory=trial_memory, dimensions=dimensions_of(dimension), params=params_of(param or []), minimise=tuple(minimise or ()),
    )  # fmt: skip
    if submit:
        from maestro.clients.api import ApiClient

        started = ApiClient.of().post("/ai/hpo/studies/start", request.document())
        emit(started, as_json=as_json, human=lambda: out.print(f"study {started['id']} is job {started.get('job_id')}"))
        return
    run_request(request, html, as_json)


@app.command("list")
def list_studies(as_json: JsonFlag = False) -> None:
    """List the studies of this home's storage."""
    from maestro.clients.optuna import Studies

    found = Studies(storage_url()).known()
    rows = [(item.name, item.trials, ", ".join(item.directions)) for item in found]
    emit(
        [item.document() for item in found],
        as_json=as_json,
        human=lambda: table("Studies", ["study", "trials", "objectives"], rows),
    )


@app.command()
def show(
    study_name: Annotated[str, typer.Argument(help="The study.")], html: Html = None, as_json: JsonFlag = False
) -> None:
    """Show a study: best trial, importance, trials."""
    from maestro.clients.optuna import Studies
    from maestro.training.search.result import result_of, write_page

    studies = Studies(storage_url())
    request, result, trials = result_of(studies, study_name)
    if html is not None and request is not None:
        write_page(studies, study_name, request, result, html)

    def print_study() -> None:
        _show(result.best, result.importance)
        rows = [
            (
                item.number,
                item.state,
                ", ".join(f"{value:.5g}" for value in item.values or ()),
                f"{float(item.attributes.get('seconds', 0.0)):.3g}",
                ", ".join(f"{key}={value}" for key, value in item.params.items()),
            )
            for item in trials
        ]
        table(f"{study_name}: {result.trials} trials", ["trial", "state", "value", "seconds", "parameters"], rows)

    emit(
        {"study": result.document(), "trials": [item.document() for item in trials]}, as_json=as_json, human=print_study
    )


def run_request(request: StudyRequest, html: Path | None, as_json: bool) -> None:
    """Run a study in this process, against the running MLflow, and print what came of it."""
    from maestro.clients.mlflow import Tracking
    from maestro.clients.optuna import Studies
    from maestro.clients.optuna_samplers import check_sampler
    from maestro.training.models import model_type
    from maestro.training.pipeline.load import load
    from maestro.training.pipeline.run import prepare
    from maestro.training.search.processes import TrialProcesses
    from maestro.training.search.result import write_page
    from maestro.training.search.study import StudyRunner
    from maestro.training.search.trials import Submission, runner_of

    runner = runner_of(request.backend)
    check_sampler(request.sampler, request.search_space.numeric, len(request.objectives))
    home = Home.of()
    tracking = Tracking(os.environ.get("MLFLOW_TRACKING_URI") or service_url("mlflow"))
    tracking.check()
    studies = Studies(storage_url())
    submission = Submission("maestro tune", home.root / "trials")
    own = TrialProcesses() if runner is TrialProcesses else nullcontext()
    with own as processes, progress(f"study {request.name}") as bar:
        bar.update(0.0, "loading features")
        space = request.search_space
        loaded = load(request.data, home.features, home.data)
        prepared = prepare(model_type(space.model_type), loaded, space.fixed, request.seed)
        result = StudyRunner(studies, request, prepared, tracking, bar, None, processes, submission).run()
    if html is not None:
        write_page(studies, request.storage_name, request, result, html)

    def print_result() -> None:
        _show(result.best, result.importance)
        out.print(
            f"{result.complete} trials completed, {result.pruned} pruned, {result.failed} failed; "
            f"{result.seconds:.3g} s of training, {format_usd(result.cost_usd_micros, places=6)}; MLflow run {result.run_id}",
            highlight=False,
        )  # fmt: skip
        if result.stopped:
            out.print(f"ended: {result.stopped}", highlight=False)

    emit(result, as_json=as_json, human=print_result)


def storage_url() -> str:
    """Where studies are: `MAESTRO_OPTUNA_URL`, else SQLite in the home."""
    home = Home.of()
    home.root.mkdir(parents=True, exist_ok=True)
    return settings().optuna_url or f"sqlite:///{home.root / 'optuna.db'}"


def study_request(**fields: Any) -> StudyRequest:
    """A study from options; a mistake names the field."""
    try:
        return StudyRequest.model_validate(fields)
    except ValidationError as error:
        raise from_validation(error, "study") from None


def _show(best: Best | None, importance: dict[str, float]) -> None:
    if best is None:
        out.print("no trial has completed")
        return
    values = [(name, f"{value:.5g}") for name, value in best.values.items()]
    params = [(name, value) for name, value in best.params.items()]
    seconds = [("seconds", f"{best.seconds:.3g}")] if best.seconds is not None else []
    table(f"Best: trial {best.number} ({best.rule})", ["", ""], [*values, *seconds, *params])
    if importance:
        table("Importance", ["parameter", "share"], [(name, f"{share:.3f}") for name, share in importance.items()])
