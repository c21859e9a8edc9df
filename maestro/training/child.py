"""What runs in the process of an attempt: `python -m maestro.training.child <attempt folder>`.

Heavy libraries are imported here and in no other process of the control plane. Feast loads the frame in a second process meanwhile. Whatever happens ends in one
`result` or one `error` signal (`maestro.training.signals`).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import traceback
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from maestro import __version__
from maestro.clients.home import Home
from maestro.clients.mlflow import Tracking
from maestro.core import errors
from maestro.core.errors import BadInput, MaestroError, Unreachable
from maestro.core.settings import settings
from maestro.observability.trace_exporting import trace_exporting
from maestro.observability.tracing import start_span
from maestro.training.backends import Attempt
from maestro.training.distribution import Group
from maestro.training.models import check_model_type
from maestro.training.pipeline.command import COMMAND, follow_command, run_command
from maestro.training.pipeline.load import NO_DATA, Loaded, load
from maestro.training.pipeline.run import follow, run_pipeline
from maestro.training.search.store import STUDY
from maestro.training.search.trial import TRIAL, run_trial
from maestro.training.signals import UNTOLD, SignalProgress, log, send


def main(arguments: list[str]) -> int:
    """Run the attempt in the folder given; returns the exit status."""
    began = time.monotonic()
    warnings.simplefilter("ignore")
    try:
        attempt = Attempt.model_validate_json((Path(arguments[0]) / "attempt.json").read_text())
        if attempt.request.model_type == TRIAL:
            return run_trial(attempt)
        group = Group.of()
        if not group.leads:
            return _follow(attempt, group)
        with (
            trace_exporting("maestro-training", __version__),
            start_span(
                "train",
                parent=os.environ.get("TRACEPARENT"),
                attributes={"maestro.model_type": attempt.request.model_type},
            ),
        ):
            result = _work(attempt, began)
        if not send("result", result):
            return UNTOLD
    except MaestroError as error:
        log(f"{error.title}: {error.detail}", "error")
        return error.exit_code if send("error", error.problem()) else UNTOLD
    except OSError as error:
        problem = Unreachable(
            f"the attempt cannot be written: {error}", remedy="free disk space", component="disk"
        ).problem()
        log(problem["detail"], "error")
        return 3 if send("error", problem) else UNTOLD
    except Exception as error:  # noqa: BLE001 - training runs other people's code: its failure is a fact to report
        for line in traceback.format_exc().splitlines():
            log(line, "error")
        send("error", {
            "type": "urn:maestro:problem:training-failed", "title": "Training failed", "status": 500,
            "detail": f"{type(error).__name__}: {error}", "remedy": "see the job's log",
        })  # fmt: skip
        return 1
    return 0


def _work(attempt: Attempt, began: float) -> dict[str, Any]:
    home = Home.of(settings())
    url = os.environ.get("MLFLOW_TRACKING_URI")
    if not url:
        raise Unreachable(
            "nothing says where MLflow is", remedy="set MAESTRO_MLFLOW_URL for the worker", component="mlflow"
        )
    tracking = Tracking(url, home.root / "mlartifacts" if url.startswith("sqlite:") else None)
    if attempt.request.model_type == STUDY:
        from maestro.training.search.child import run_study

        return run_study(attempt, tracking, home, SignalProgress(), log)
    check_model_type(attempt.request.model_type)
    group = Group.of()
    if attempt.request.model_type == COMMAND:
        return _command(attempt, tracking, home, began, group)
    if "feast" in sys.modules:
        # a copy of the nursery has everything loaded already
        loaded = partial(load, attempt.request.data, home.features, home.data)
        tracking.check()
        return run_pipeline(attempt, loaded, tracking, SignalProgress(), log, began, _usage, group).document()
    loading = _start_loading(attempt, home)
    try:
        tracking.check()
        import sklearn.ensemble  # noqa: F401 - imported while Feast is, in the other process

        outcome = run_pipeline(
            attempt,
            lambda: _finish_loading(loading, attempt),
            tracking,
            SignalProgress(),
            lambda text, level: log(text, level),
            began,
            _usage,
            group,
        )
    finally:
        if loading.poll() is None:
            loading.kill()
        loading.wait()
    return outcome.document()


def _follow(attempt: Attempt, group: Group) -> int:
    """A rank that is not 0 of a training in a group; a study's trials are spread by the study itself."""
    if attempt.request.model_type == COMMAND:
        return follow_command(attempt, group)
    if attempt.request.model_type != STUDY:
        follow(attempt, group)
    return 0


def _command(attempt: Attempt, tracking: Tracking, home: Home, began: float, group: Group) -> dict[str, Any]:
    tracking.check()
    data = attempt.request.data
    loaded = None if data.feature_service == NO_DATA else partial(load, data, home.features, home.data)
    return run_command(attempt, loaded, tracking, SignalProgress(), log, began, _usage, group).document()


def _start_loading(attempt: Attempt, home: Home) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "maestro.training.pipeline.load", str(attempt.folder), str(home.features), str(home.data)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _finish_loading(loading: subprocess.Popen[str], attempt: Attempt) -> Loaded:
    out, err = loading.communicate()
    if loading.returncode == 0:
        return Loaded.read(attempt.folder)
    try:
        problem = json.loads(out.strip().splitlines()[-1])
    except (ValueError, IndexError):
        for line in err.splitlines()[-20:]:
            log(line, "error")
        raise RuntimeError(f"loading the training frame failed with exit status {loading.returncode}") from None
    raise problem_error(problem)


def problem_error(problem: dict[str, Any]) -> MaestroError:
    """The error that a problem document of another process describes."""
    kinds = {
        kind.slug: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MaestroError)
    }
    kind = kinds.get(str(problem.get("type", "")).rpartition(":")[2], BadInput)
    return kind(str(problem.get("detail", "")), remedy=str(problem.get("remedy", "")), field=problem.get("field"))


def _usage() -> tuple[float, int]:
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
    return seconds, (own.ru_maxrss + others.ru_maxrss) * 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
