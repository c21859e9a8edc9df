"""A trial as a job: what runs in the job's process.

The process itself only watches. A second one loads the data, fits and measures, and is ended by the kernel when its time is over; what it used is
accounted by the system, however it ended. Signals (`maestro.training.signals`): `step` after each fold, `ended` at the end with everything that is
known, which is also left as the container's last word, so that whoever asks for the pod finds it without its log.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from maestro.core.errors import BadInput, MaestroError, Unreachable
from maestro.core.model import Model
from maestro.training.backends import Attempt
from maestro.training.search.frame import Frame, read_frame
from maestro.training.search.request import StudyRequest
from maestro.training.signals import send

TRIAL = "trial"
"""The model type of a job that is a trial."""

LOADING_S = 120.0
"""How long a trial may take to load its libraries and data, beside its own time limit."""

LAST_WORD = Path("/dev/termination-log")
"""Where a container leaves what its pod's status is to say of its end."""


class TrialSpec(Model):
    """The parameters of a job that is a trial."""

    study: StudyRequest
    number: int = Field(ge=0)
    params: dict[str, Any]
    frame: Frame
    tracking: str = Field(description="MLflow's address, where the job's environment names no other")


class TrialReport(Model):
    """What a trial says of its end."""

    number: int
    code: int
    timed_out: bool = False
    metrics: dict[str, float] | None = None
    problem: dict[str, Any] | None = None
    failed: str = ""
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int


def report_of(text: str) -> TrialReport | None:
    """The report in a container's last word; None when there is none, or not a whole one."""
    try:
        return TrialReport.model_validate_json(text) if text else None
    except ValidationError:
        return None


def run_trial(attempt: Attempt) -> int:
    """Run the trial that the job describes; returns the exit status.

    Raises:
        BadInput: the job describes none.
    """
    began = time.monotonic() - _age_s()
    try:
        spec = TrialSpec.model_validate(attempt.request.params)
    except ValidationError as error:
        raise BadInput(
            f"params are no trial: {error.errors()[0]['msg']}", field="params", remedy="trials are submitted by studies"
        ) from None
    ours, theirs = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.close(ours)
            code = _fit(spec, attempt.folder, theirs)
        except BaseException:  # noqa: BLE001 - said, and then this process ends
            traceback.print_exc()
        finally:
            # no exit handlers of what this process was copied from
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(theirs)
    last: dict[str, Any] = {}

    def end(*_: object) -> None:
        last["failed"] = "it was told to end"
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    # a container's first process is not ended by a signal that it does not handle
    signal.signal(signal.SIGTERM, end)
    with os.fdopen(ours) as heard:
        for line in heard:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # killed in the middle of a word
            if "step" in message:
                send("step", message)
            else:
                last |= message
    _, status, usage = os.wait4(child, 0)
    report = _report(spec, os.waitstatus_to_exitcode(status), last, time.monotonic() - began, usage)
    send("ended", report.document())
    with suppress(OSError):
        if LAST_WORD.exists():
            LAST_WORD.write_text(report.model_dump_json(exclude_none=True))
    return 0 if report.metrics is not None else 1


def _report(
    spec: TrialSpec, code: int, last: dict[str, Any], wall_s: float, usage: resource.struct_rusage
) -> TrialReport:
    told = {"done", "problem", "failed"} & last.keys()
    over = code == -signal.SIGALRM and not told
    failed = str(last.get("failed", ""))[:1000]
    if over and "loaded" not in last:
        failed = f"its data and libraries were not loaded after {LOADING_S:g} s"
    elif code < 0 and not over and not told:
        failed = f"its process was ended by signal {-code}" + ("; out of memory?" if code == -signal.SIGKILL else "")
    elif code and not over and not told:
        failed = f"its process ended with exit status {code}; see the job's log"
    return TrialReport(
        number=spec.number, code=code, timed_out=over and "loaded" in last, metrics=last.get("done"), problem=last.get("problem"),
        failed=failed, wall_s=round(wall_s, 4), cpu_s=round(usage.ru_utime + usage.ru_stime, 4),
        peak_memory_bytes=usage.ru_maxrss * 1024,
    )  # fmt: skip


def _fit(spec: TrialSpec, folder: Path, channel: int) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, LOADING_S)
    with os.fdopen(channel, "w") as stream:

        def tell(message: dict[str, Any]) -> None:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            used = {"cpu_s": round(usage.ru_utime + usage.ru_stime, 4), "peak_memory_bytes": usage.ru_maxrss * 1024}
            stream.write(json.dumps(message | (used if "step" in message else {})) + "\n")
            stream.flush()

        return _measured(spec, folder, tell)


def _measured(spec: TrialSpec, folder: Path, tell: Callable[[dict[str, Any]], None]) -> int:
    from maestro.clients.mlflow_files import fetch_file
    from maestro.training.models import model_type
    from maestro.training.search.objective import evaluate

    try:
        path = folder / "frame.parquet"
        fetch_file(os.environ.get("MLFLOW_TRACKING_URI") or spec.tracking, spec.frame.uri, path)
        prepared = read_frame(path, spec.frame.digest)
        kind = model_type(spec.study.search_space.model_type)
        import sklearn.model_selection  # noqa: F401 - loading is not the trial's own time
    except Unreachable as error:
        tell({"failed": f"{error.title}: {error.detail}"})
        return error.exit_code
    except MaestroError as error:
        tell({"problem": error.problem()})
        return error.exit_code
    tell({"loaded": True})
    signal.setitimer(signal.ITIMER_REAL, spec.study.trial_timeout_s)
    return evaluate(kind, spec.study, prepared, spec.params, tell)


def _age_s() -> float:
    """How long this process has run already; starting Python is the trial's time, too."""
    try:
        with open("/proc/self/stat") as stat, open("/proc/uptime") as uptime:
            ticks = int(stat.read().rpartition(")")[2].split()[19])
            age = float(uptime.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0
    return age if 0.0 <= age < LOADING_S else 0.0
