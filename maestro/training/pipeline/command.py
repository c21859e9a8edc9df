"""The user's own program as a job: any command, with the same logging, cost and lineage as the pipeline's own training.

The command finds in its environment `MAESTRO_TRAIN_DATA` and `MAESTRO_HOLDOUT_DATA` (Parquet files, where the job names data), `MAESTRO_PARAMS` (a JSON file), `MAESTRO_OUTPUT` (a
folder), `MAESTRO_CHECKPOINTS` (a folder that outlives the attempt), `MLFLOW_RUN_ID`, and the group's variables. What it leaves in its output folder is logged: `metrics.json`
as metrics, the rest as artifacts. What it prints is the job's log.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from maestro.clients.mlflow import Tracking
from maestro.core.errors import BadInput
from maestro.core.rates import load_rates
from maestro.core.seams import Progress
from maestro.training.backends._base import Attempt
from maestro.training.billing import bill_attempt
from maestro.training.distribution import Group, exchange
from maestro.training.job import Outcome
from maestro.training.models.python_function import check_allowed
from maestro.training.naming import experiment_name
from maestro.training.pipeline.load import Loaded
from maestro.training.pipeline.origin import code_version, requirements
from maestro.training.pipeline.preprocess import preprocess
from maestro.training.pipeline.register import attempt_to_log
from maestro.training.pipeline.run import attempt_tags, close_failed

COMMAND = "command"
"""The model type that means: run `params.command`."""
_MOST_BYTES = 2**30


def command_of(params: Mapping[str, Any]) -> list[str]:
    """The program and its arguments.

    Raises:
        BadInput: `params.command` is no list of texts.
    """
    command = params.get("command")
    if (
        not isinstance(command, list)
        or not command
        or not all(isinstance(word, str) and "\0" not in word for word in command)
    ):
        raise BadInput(
            f"command is {command!r}",
            field="params.command",
            remedy='write a list of texts, such as ["python3", "train.py"]',
        )
    return [str(word) for word in command]


def run_command(
    attempt: Attempt,
    load: Callable[[], Loaded] | None,
    tracking: Tracking,
    progress: Progress,
    say: Callable[[str, str], None],
    began: float,
    cpu: Callable[[], tuple[float, int]],
    group: Group,
) -> Outcome:
    """Run the command and log what it leaves; of a group, this is rank 0 and the others run `follow_command`.

    Args:
        attempt: the attempt.
        load: brings the data that the job names; None when it names none.
        tracking: MLflow.
        progress: told of each step.
        say: given log lines and their level.
        began: `time.monotonic()` at the attempt's start.
        cpu: CPU seconds and peak memory so far, children included.
        group: of this process.

    Raises:
        MaestroError: the command failed, or something it needs is missing. The run is closed as failed.
    """
    request = attempt.request
    command = command_of(request.params)
    check_allowed(None)
    experiment = experiment_name(request.tenant_id, str(request.params.get("experiment", request.name)))
    experiment_id = tracking.experiment(experiment, {"maestro.tenant": request.tenant_id})
    run_id = tracking.start_run(experiment_id, f"{request.name}-{attempt.attempt}", attempt_tags(attempt))
    output = attempt.folder / "output"
    output.mkdir(parents=True, exist_ok=True)
    try:
        environment = _inputs(attempt, load() if load is not None else None, tracking, run_id, progress)
        exchange(group, environment, timeout_s=request.timeout_s)
        progress.update(0.3, f"running {Path(command[0]).name}")
        code = _spawn(command, environment, group)
        if code:
            raise BadInput(
                f"the command ended with exit status {code}", field="params.command", remedy="see the job's log"
            )
        progress.update(0.9, "logging to MLflow")
        metrics, missing = _collect(output, tracking, run_id, say)
        wall_s = time.monotonic() - began
        bill = bill_attempt(request, wall_s, *cpu(), load_rates())
        costs = {"cost_usd": bill.bill_usd_micros / 1e6, "wall_seconds": bill.wall_s, "cpu_seconds": bill.cpu_s}
        params = {
            name: json.dumps(value) if not isinstance(value, str) else value for name, value in request.params.items()
        }
        tracking.log(
            run_id, params=params, metrics=metrics | costs, tags={"maestro.cost_usd_micros": str(bill.bill_usd_micros)}
        )
        tracking.log_text(run_id, "\n".join(requirements()) + "\n", "environment/requirements.txt")
        tracking.log_text(
            run_id, json.dumps(_facts(attempt, run_id, command, bill.bill_usd_micros, wall_s), indent=2), "lineage.json"
        )
        tracking.end_run(run_id, "FINISHED")
    except BaseException:
        close_failed(tracking, run_id, say)
        raise
    progress.update(1.0, "done")
    return Outcome(
        run_id=run_id, experiment=experiment, experiment_id=experiment_id, metrics=metrics, params=params, missing=missing,
        details={"command": command, "git_commit": code_version().git_commit},
    )  # fmt: skip


def follow_command(attempt: Attempt, group: Group) -> int:
    """The command in a rank that is not 0; returns its exit status."""
    check_allowed(None)
    environment = exchange(group, None, timeout_s=attempt.request.timeout_s)[0]
    return _spawn(command_of(attempt.request.params), environment, group)


def _inputs(
    attempt: Attempt, loaded: Loaded | None, tracking: Tracking, run_id: str, progress: Progress
) -> dict[str, str]:
    folder = attempt.folder
    (folder / "params.json").write_text(json.dumps(attempt.request.params))
    environment = {
        "MAESTRO_PARAMS": str(folder / "params.json"), "MAESTRO_OUTPUT": str(folder / "output"), "MLFLOW_RUN_ID": run_id,
        "MLFLOW_TRACKING_URI": tracking.url,
        "MAESTRO_CHECKPOINTS": os.environ.get("MAESTRO_CHECKPOINTS") or str(folder.parent / "checkpoints"),
    }  # fmt: skip
    if loaded is None:
        return environment
    progress.update(0.2, "writing the data")
    prepared = preprocess(loaded, seed=int(attempt.request.params.get("seed", 0)))
    for name, rows, target in (
        ("train", prepared.train, prepared.train_target), ("holdout", prepared.holdout, prepared.holdout_target),
    ):  # fmt: skip
        path = folder / f"{name}.parquet"
        rows.assign(**{loaded.info.target: target}).to_parquet(path, index=False)
        environment[f"MAESTRO_{name.upper()}_DATA"] = str(path)
    info = loaded.info
    tracking.log_dataset(
        run_id, name=info.dataset, digest=info.version, rows=info.rows, schema={**dict.fromkeys(info.features, "double"), info.target: "long"},
        source={"source": info.source, "version": info.version, "content": info.content, "feature_service": info.service},
    )  # fmt: skip
    return environment


def _spawn(command: list[str], environment: Mapping[str, str], group: Group) -> int:
    own = {
        "RANK": str(group.rank), "WORLD_SIZE": str(group.world), "MASTER_ADDR": group.address, "MASTER_PORT": str(group.port),
    }  # fmt: skip
    words = [sys.executable, *command[1:]] if command[0] in {"python", "python3"} else command
    sys.stdout.flush()
    try:
        return subprocess.run(words, env=dict(os.environ) | dict(environment) | own, check=False).returncode
    except OSError as error:
        raise BadInput(
            f"{command[0]} cannot be run: {error.strerror}",
            field="params.command",
            remedy="name a program of the worker",
        ) from error


def _collect(
    output: Path, tracking: Tracking, run_id: str, say: Callable[[str, str], None]
) -> tuple[dict[str, float], tuple[str, ...]]:
    metrics: dict[str, float] = {}
    path = output / "metrics.json"
    if path.is_file():
        try:
            found = json.loads(path.read_text())
            metrics = {str(name): float(value) for name, value in found.items()}
        except (ValueError, TypeError, AttributeError):
            raise BadInput(
                "metrics.json cannot be read",
                field="params.command",
                remedy="write one JSON object of names and numbers",
            ) from None
        if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
            raise BadInput(f"metric {bad[0]} is not finite", field="params.command", remedy="the training diverged")
    missing: list[str] = []
    files = [item for item in sorted(output.rglob("*")) if item.is_file() and not item.is_symlink() and item != path]
    if sum(item.stat().st_size for item in files) > _MOST_BYTES:
        missing.append("artifacts: more than 1 GiB was left")
        say(missing[0], "error")
        return metrics, tuple(missing)
    for item in files:
        folder = None if item.parent == output else item.parent.relative_to(output).as_posix()
        attempt_to_log(item.name, missing, say, partial(tracking.log_file, run_id, item, folder))
    return metrics, tuple(missing)


def _facts(attempt: Attempt, run_id: str, command: list[str], micros: int, wall_s: float) -> dict[str, Any]:
    return {
        "schema": "maestro.lineage/1", "run_id": run_id, "command": command,
        "job": {"id": attempt.job_id, "attempt": attempt.attempt, "fence": attempt.fence, "name": attempt.request.name,
                "tenant_id": attempt.request.tenant_id, "submitted_by": attempt.submitted_by},
        "model": {"algorithm": COMMAND, "wall_time_s": round(wall_s, 3), "code": code_version().document()},
        "cost": {"usd_micros": micros},
    }  # fmt: skip
