"""The five steps in their order, for one attempt."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

from maestro.clients.mlflow import Tracking
from maestro.core.canonical import digest
from maestro.core.contract import RangeRule
from maestro.core.errors import BadInput, MaestroError
from maestro.core.rates import load_rates
from maestro.core.seams import Progress
from maestro.training.backends._base import Attempt
from maestro.training.billing import bill_attempt
from maestro.training.checkpoint import Checkpoints
from maestro.training.distribution import ALONE, Group, exchange
from maestro.training.job import Outcome
from maestro.training.models import ModelType, Preparing, model_type
from maestro.training.naming import experiment_name
from maestro.training.pipeline.evaluate import evaluate
from maestro.training.pipeline.load import FrameInfo, Loaded
from maestro.training.pipeline.origin import code_version, lineage
from maestro.training.pipeline.preprocess import Prepared, preprocess
from maestro.training.pipeline.register import register
from maestro.training.pipeline.train import train


def run_pipeline(
    attempt: Attempt,
    load: Callable[[], Loaded],
    tracking: Tracking,
    progress: Progress,
    say: Callable[[str, str], None],
    began: float,
    cpu: Callable[[], tuple[float, int]],
    group: Group = ALONE,
) -> Outcome:
    """Train and log one model; of a group, this is rank 0.

    Args:
        attempt: the attempt; its folder holds everything that is written outside MLflow.
        load: step 1; it may be running already in a process of its own.
        tracking: MLflow.
        progress: told of each step.
        say: given log lines and their level.
        began: `time.monotonic()` at the attempt's start.
        cpu: CPU seconds and peak memory so far.
        group: the workers that train together; the others run `follow`.

    Raises:
        MaestroError: a step failed; the field or component is named. The run is closed as failed.
    """
    request = attempt.request
    kind = model_type(request.model_type)
    seed = _seed(request.params)
    experiment = experiment_name(request.tenant_id, str(request.params.get("experiment", request.name)))
    progress.update(0.05, "loading")
    experiment_id = tracking.experiment(experiment, {"maestro.tenant": request.tenant_id})
    run_id = tracking.start_run(experiment_id, f"{request.name}-{attempt.attempt}", attempt_tags(attempt))
    say(f"MLflow run {run_id} in experiment {experiment}", "info")
    try:
        loaded = load()
        say(
            f"loaded {loaded.info.rows} rows from {loaded.info.service} ({loaded.info.dataset} {loaded.info.version})",
            "info",
        )
        progress.update(0.35, "preprocessing")
        if group.world > 1:
            loaded.write(attempt.folder)
            exchange(group, "loaded")
        prepared = prepare(kind, loaded, request.params, seed)
        progress.update(0.40, f"training on {len(prepared.train)} rows")
        checkpoints = checkpoints_of(
            attempt, loaded, group, lambda step: say(f"checkpoint after {step} rounds", "debug")
        )
        trained = train(kind, request.params, prepared, seed=seed, checkpoints=checkpoints, group=group)
        if trained.resumed_at:
            say(f"went on from the checkpoint after {trained.resumed_at} rounds", "info")
        progress.update(0.75, "evaluating")
        metrics = evaluate(kind, trained, prepared, request.params, seed)
        say(", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items())), "info")
        progress.update(0.80, "logging to MLflow")
        wall_s = time.monotonic() - began
        bill = bill_attempt(request, wall_s, *cpu(), load_rates())
        facts = lineage(
            loaded.info, trained, job=_job_facts(attempt), run_id=run_id, wall_s=wall_s, cost_usd_micros=bill.bill_usd_micros,
            sample_count=len(prepared.train),
        )  # fmt: skip
        costs = {
            "cost_usd": bill.bill_usd_micros / 1e6, "wall_seconds": bill.wall_s, "cpu_seconds": bill.cpu_s,
            "peak_memory_mb": bill.peak_memory_bytes / 2**20,
        }  # fmt: skip
        model_uri, missing = register(
            tracking, run_id=run_id, experiment_id=experiment_id, kind=kind, info=loaded.info, prepared=prepared, trained=trained,
            metrics=metrics | costs, facts=facts, folder=attempt.folder, say=say,
        )  # fmt: skip
        tracking.end_run(run_id, "FINISHED")
    except BaseException:
        close_failed(tracking, run_id, say)
        raise
    progress.update(1.0, "done")
    return Outcome(
        run_id=run_id, model_uri=model_uri, experiment=experiment, experiment_id=experiment_id, metrics=metrics, missing=missing,
        params=trained.params | {"algorithm": trained.algorithm}, details=_details(loaded.info),
    )  # fmt: skip


def follow(attempt: Attempt, group: Group) -> None:
    """The part of a rank that is not 0: wait for the frame, then train with the others. Nothing is logged.

    Raises:
        MaestroError: as for `run_pipeline`.
    """
    request = attempt.request
    kind = model_type(request.model_type)
    seed = _seed(request.params)
    exchange(group, "waiting", timeout_s=request.timeout_s)
    loaded = Loaded.read(attempt.folder)
    prepared = prepare(kind, loaded, request.params, seed)
    train(kind, request.params, prepared, seed=seed, checkpoints=checkpoints_of(attempt, loaded, group), group=group)


def prepare(kind: ModelType, loaded: Loaded, params: dict[str, Any], seed: int) -> Prepared:
    """Step 2, by the kind of model itself where it has its own.

    Raises:
        BadInput: a parameter, a feature or the target is at fault.
    """
    share, rule = _share(params), _range_rule(params)
    if isinstance(kind, Preparing):
        return replace(kind.prepare(loaded, params, seed), on_out_of_range=rule)
    return preprocess(loaded, seed=seed, test_size=share, on_out_of_range=rule)


def checkpoints_of(
    attempt: Attempt, loaded: Loaded, group: Group, told: Callable[[int], None] | None = None
) -> Checkpoints:
    """The checkpoints of the job's attempts on these data: in `MAESTRO_CHECKPOINTS`, or beside the attempt's folder."""
    folder = os.environ.get("MAESTRO_CHECKPOINTS")
    identity = digest({
        "model_type": attempt.request.model_type, "params": attempt.request.params, "data": loaded.info.content,
        "features": list(loaded.info.features), "workers": group.world, "code": code_version().maestro,
    })  # fmt: skip
    return Checkpoints(
        Path(folder) if folder else attempt.folder.parent / "checkpoints", identity, fence=attempt.fence, writes=group.leads,
        told=told,
    )  # fmt: skip


def attempt_tags(attempt: Attempt) -> dict[str, str]:
    """Who ran what by which code, as MLflow tags."""
    code = code_version()
    tags = {
        "maestro.job": attempt.job_id, "maestro.attempt": str(attempt.attempt), "maestro.fence": str(attempt.fence),
        "maestro.tenant": attempt.request.tenant_id, "maestro.submitted_by": attempt.submitted_by, "maestro.version": code.maestro,
        "mlflow.user": attempt.submitted_by, "mlflow.source.name": "maestro.training", "mlflow.source.type": "JOB",
    }  # fmt: skip
    if code.git_commit:
        tags["mlflow.source.git.commit"] = code.git_commit
    if code.git_branch:
        tags["mlflow.source.git.branch"] = code.git_branch
    return tags


def _job_facts(attempt: Attempt) -> dict[str, Any]:
    return {
        "id": attempt.job_id, "attempt": attempt.attempt, "fence": attempt.fence, "name": attempt.request.name,
        "tenant_id": attempt.request.tenant_id, "submitted_by": attempt.submitted_by, "register_as": attempt.request.register_as,
    }  # fmt: skip


def _details(info: FrameInfo) -> dict[str, Any]:
    return {
        "dataset": info.dataset, "dataset_version": info.version, "feature_service": info.service, "target": info.target,
        "git_commit": code_version().git_commit,
    }  # fmt: skip


def close_failed(tracking: Tracking, run_id: str, say: Callable[[str, str], None]) -> None:
    """Mark a run as failed; that MLflow is gone is only said."""
    try:
        tracking.end_run(run_id, "FAILED")
    except MaestroError as error:
        say(f"run {run_id} could not be closed: {error.detail}", "warning")


def _seed(params: dict[str, Any]) -> int:
    seed = params.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise BadInput(f"seed is {seed!r}", field="params.seed", remedy="give a whole number, 0 or more")
    return seed


def _range_rule(params: dict[str, Any]) -> RangeRule:
    rule = params.get("on_out_of_range", "accept_and_count")
    if rule not in get_args(RangeRule):
        raise BadInput(
            f"on_out_of_range is {rule!r}",
            field="params.on_out_of_range",
            remedy=f"choose one of {', '.join(get_args(RangeRule))}",
        )
    return cast("RangeRule", rule)


def _share(params: dict[str, Any]) -> float:
    share = params.get("test_size", 0.25)
    if not isinstance(share, int | float) or not 0.0 < share < 1.0:
        raise BadInput(f"test_size is {share!r}", field="params.test_size", remedy="give a share between 0 and 1")
    return float(share)
