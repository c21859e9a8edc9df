"""Trials as jobs of a training backend, such as pods of a cluster: submitted, followed, ended, found again.

Each trial is one attempt under a handle that follows from the study and its number, so that submitting it again starts nothing: a search that was
killed goes on with the jobs it finds. Data travel through MLflow, since a pod sees neither the feature store nor the worker's disk. A job is not
asked to wait for its verdict after a fold: it goes on, and is ended when the verdict is against it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from maestro.clients.mlflow import Tracking
from maestro.clients.mlflow_files import file_uri, remove_file
from maestro.core.errors import MaestroError, NotFound, Unreachable
from maestro.core.jobs import JobRequest, Resources
from maestro.training.backends import Attempt, BackendStatus, Phase, TrainingBackend
from maestro.training.manifests.naming import label_value
from maestro.training.search._trials import Begun, Ended, Setting, Step
from maestro.training.search.frame import Frame, write_frame
from maestro.training.search.request import StudyRequest
from maestro.training.search.trial import LOADING_S, TRIAL, TrialReport, TrialSpec, report_of
from maestro.training.signals import parse

log = logging.getLogger(__name__)

STUDY_LABEL = "maestro.dev/study"
TRIAL_LABEL = "maestro.dev/trial"

_FENCE = 1
"""A trial is attempted once: what was cut off is tried again under another number."""

_SEEN_S = 30.0
"""How long after its end a trial's report is waited for, and after its time limit its end."""

_WAIT_S = 3600
"""A job that nobody looks after any more is ended this long after its trial's own limit: it may have waited for room until then."""

_FOLDER = "search"
_HANDLE = re.compile(rf"(?P<study>.+)-t\d+-{_FENCE}")


@dataclass(frozen=True)
class Origin:
    """Whose trials these are, and where.

    Attributes:
        request: the study.
        study_id: its id; trials are found by it.
        submitted_by: the principal.
        folder: where a backend of this machine puts what a trial leaves.
        tracking: MLflow's address, where the jobs' environment names no other.
    """

    request: StudyRequest
    study_id: str
    submitted_by: str
    folder: Path
    tracking: str


@dataclass
class _Job:
    attempt: Attempt
    timeout_s: float
    is_submitted: bool = False
    offset: int = 0
    began: float | None = None
    over_since: float | None = None
    report: TrialReport | None = None
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    ending: str = ""
    said: str = ""


class TrialJobs:
    """Trials behind a training backend (the seam `Trials`).

    Args:
        backend: where they run; closed with this.
        origin: whose they are.
        tracking: MLflow, through which they get their data.
        run_id: the study's run, among whose files the data lie for as long as trials need them.
        say: given why a trial waits.
        every_s: seconds between two looks at the backend.
    """

    outlives: ClassVar[bool] = True
    grace_s: ClassVar[float] = LOADING_S + 1.0

    def __init__(
        self,
        backend: TrainingBackend,
        origin: Origin,
        tracking: Tracking,
        run_id: str,
        say: Callable[[str], None] | None = None,
        every_s: float = 1.0,
    ) -> None:
        self._backend = backend
        self._origin = origin
        self._tracking = tracking
        self._run_id = run_id
        self._say = say
        self._every_s = every_s
        self._next = 0.0
        self._frame: Frame | None = None
        self._jobs: dict[int, _Job] = {}
        self._over: list[str] = []

    def __enter__(self) -> TrialJobs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, setting: Setting) -> None:
        """Put the data where trials find them."""
        with tempfile.TemporaryDirectory(prefix="maestro-search-") as folder:
            path = Path(folder) / "frame.parquet"
            digest = write_frame(setting.prepared, path)
            # the same data under the same name: trials of an earlier process may be reading them
            named = path.rename(path.with_name(f"{digest.removeprefix('sha256:')[:16]}.parquet"))
            self._tracking.log_file(self._run_id, named, _FOLDER)
        self._frame = Frame(uri=file_uri(self._tracking, self._run_id, f"{_FOLDER}/{named.name}"), digest=digest)

    def start(self, number: int, params: dict[str, Any], timeout_s: float) -> None:
        """Submit a trial's job, unless it was submitted before.

        Raises:
            BadInput: the backend cannot run such a job.
            Refused: quota, policy or permission stands against it.
        """
        self._begin(number, Begun(params, timeout_s, self._origin.request.trial_cpu))

    def resume(self, trials: Mapping[int, Begun]) -> None:
        """Find the jobs of these trials again, or submit them as they were; end those of all others."""
        kept = {f"{_job_id(self._origin.study_id, number)}-{_FENCE}" for number in trials}
        for handle in studies_of(self._backend).get(self._origin.study_id, ()):
            if handle not in kept:
                log.info("ending %s, left behind by an earlier search", handle)
                self._end(handle)
        for number, begun in trials.items():
            self._begin(number, begun)

    def answer(self, number: int, *, go: bool) -> None:
        """End a trial that is judged hopeless; one that is not goes on anyway."""
        job = self._jobs.get(number)
        if job is not None and not go:
            job.ending = "pruned"
            with self._told_when_away(number):
                self._backend.cancel(job.attempt.handle)

    def wait(self, timeout_s: float | None = None) -> list[Step | Ended]:
        """What trials have told since; looks at the backend at intervals."""
        self._release()
        until = time.monotonic() + timeout_s if timeout_s is not None else math.inf
        while self._jobs:
            pause = self._next - time.monotonic()
            if pause > 0:
                time.sleep(max(0.0, min(pause, until - time.monotonic())))
                if time.monotonic() < self._next:
                    return []
            self._next = time.monotonic() + self._every_s
            events = [event for number in list(self._jobs) for event in self._look(number)]
            if events or time.monotonic() >= until:
                return events
        return []

    def drop(self) -> None:
        """End every job and wait until nothing of it runs."""
        for job in self._jobs.values():
            self._end(job.attempt.handle)
        self._jobs.clear()

    def close(self) -> None:
        """End what runs; take the data away when no trial needs them any more."""
        self.drop()
        self._release()
        with self._told_when_away(None):
            if self._frame is not None and not studies_of(self._backend).get(self._origin.study_id, ()):
                remove_file(self._tracking, self._run_id, f"{_FOLDER}/{self._frame.uri.rpartition('/')[2]}")
        self._backend.close()

    def _begin(self, number: int, begun: Begun) -> None:
        self._release()
        job = self._jobs[number] = _Job(self._attempt(number, begun), begun.timeout_s)
        with self._told_when_away(number):
            self._submit(job)

    def _attempt(self, number: int, begun: Begun) -> Attempt:
        origin, request = self._origin, self._origin.request
        if self._frame is None:
            raise AssertionError("a trial was started before its data were loaded")
        # the job keeps to the limit in its own copy of the study
        own = request.model_copy(update={"trial_timeout_s": begun.timeout_s, "trial_cpu": begun.cores})
        spec = TrialSpec(study=own, number=number, params=begun.params, frame=self._frame, tracking=origin.tracking)
        job = JobRequest(
            name=request.name, tenant_id=request.tenant_id, model_type=TRIAL, priority=request.priority, backend=request.backend,
            data=request.data, params=spec.document(), resources=Resources(cpu=begun.cores, memory=request.trial_memory),
            timeout_s=min(7 * 86400, math.ceil(begun.timeout_s + self.grace_s) + _WAIT_S),
        )  # fmt: skip
        return Attempt(
            job_id=_job_id(origin.study_id, number), attempt=_FENCE, fence=_FENCE, request=job, submitted_by=origin.submitted_by,
            folder=origin.folder / str(number), environment={"MLFLOW_TRACKING_URI": origin.tracking},
            labels={STUDY_LABEL: label_value(request.name), TRIAL_LABEL: str(number)},
        )  # fmt: skip

    def _submit(self, job: _Job) -> None:
        self._backend.submit(job.attempt)
        job.is_submitted = True

    def _look(self, number: int) -> list[Step | Ended]:
        job = self._jobs[number]
        handle = job.attempt.handle
        try:
            if not job.is_submitted:
                self._submit(job)
            status = self._backend.status(handle)
            lines, job.offset = self._backend.logs(handle, job.offset)
        except Unreachable as error:
            log.warning("cannot ask for trial %d, will try again: %s", number, error.detail)
            return []
        except NotFound as error:
            return [self._ended(number, BackendStatus(phase=Phase.FAILED, reason=error.detail))]
        events: list[Step | Ended] = list(self._heard(number, job, lines))
        now = time.monotonic()
        if status.phase in {Phase.PENDING, Phase.RUNNING}:
            if status.phase is Phase.RUNNING:
                job.began = job.began or now
                if now - job.began > job.timeout_s + self.grace_s + _SEEN_S:
                    # whoever was to end it in time did not
                    job.ending = job.ending or "timed out"
                if job.ending:
                    with self._told_when_away(number):
                        self._backend.cancel(handle)
            elif status.reason and status.reason != job.said and self._say is not None:
                job.said = status.reason
                self._say(f"trial {number} waits: {status.reason}")
            return events
        job.report = report_of(status.message) or job.report
        job.over_since = job.over_since or now
        if job.report is None and status.phase is Phase.SUCCEEDED and now - job.over_since < _SEEN_S:
            return events  # its log is not whole yet
        return [*events, self._ended(number, status)]

    def _heard(self, number: int, job: _Job, lines: list[str]) -> Iterator[Step]:
        for line in lines:
            kind, fields = parse(line)
            if kind == "step":
                job.cpu_s = float(fields.get("cpu_s", job.cpu_s))
                job.peak_memory_bytes = int(fields.get("peak_memory_bytes", job.peak_memory_bytes))
                yield Step(number, int(fields["step"]), fields["means"], float(fields["seconds"]))
            elif kind == "ended":
                job.report = TrialReport.model_validate(fields)
            elif kind == "error" and job.report is None:
                # it ended before it could watch over anything
                job.report = TrialReport(
                    number=number, code=1, problem=fields, wall_s=0.0, cpu_s=0.0, peak_memory_bytes=0
                )

    def _ended(self, number: int, status: BackendStatus) -> Ended:
        job = self._jobs.pop(number)
        self._over.append(job.attempt.handle)
        report = job.report
        observed = time.monotonic() - job.began if job.began is not None else 0.0
        wall_s = status.wall_s if status.wall_s is not None else observed
        failed, problem, timed_out = status.reason, None, job.ending == "timed out"
        if report is not None:
            wall_s = max(report.wall_s, status.wall_s or 0.0)
            failed, problem, timed_out = report.failed, report.problem, report.timed_out or timed_out
        if job.ending:
            failed = ""  # it was the search that ended it
        elif report is None and status.hopeless:
            # the next trial would not start either
            problem = Unreachable(f"trial {number} could not start: {status.reason}", remedy="correct what it names, then resume the study",
                                  component=self._backend.name).problem()  # fmt: skip
        elif report is None and status.phase is Phase.SUCCEEDED:
            failed = "it ended without a result"
        return Ended(
            number, report.code if report is not None else status.exit_code if status.exit_code is not None else 1, timed_out,
            report.metrics if report is not None else None, problem, failed,
            # ended by the kernel at its limit; that it was seen later is nobody's use of the machine
            min(wall_s, job.timeout_s + self.grace_s),
            report.cpu_s if report is not None else max(status.cpu_s, job.cpu_s),
            report.peak_memory_bytes if report is not None else max(status.peak_memory_bytes, job.peak_memory_bytes),
        )  # fmt: skip

    def _release(self) -> None:
        """Forget jobs whose end the search has written down."""
        while self._over:
            with self._told_when_away(None):
                self._backend.forget(self._over[-1])
            self._over.pop()

    def _end(self, handle: str) -> None:
        try:
            end_trial(self._backend, handle)
        except MaestroError as error:
            log.warning("%s is left to its time limit: %s", handle, error.detail)

    @contextlib.contextmanager
    def _told_when_away(self, number: int | None) -> Iterator[None]:
        try:
            yield
        except (Unreachable, NotFound) as error:
            log.warning("%s: %s", "clearing up" if number is None else f"trial {number}", error.detail)


def studies_of(backend: TrainingBackend) -> dict[str, list[str]]:
    """The trials that a backend has not forgotten: study to handles.

    Raises:
        Unreachable: the backend does not answer.
    """
    found: dict[str, list[str]] = {}
    for handle in backend.known():
        if whose := _HANDLE.fullmatch(handle):
            found.setdefault(whose["study"], []).append(handle)
    return found


def end_trial(backend: TrainingBackend, handle: str) -> None:
    """Stop a trial's job and forget it; one that is gone already is no mistake."""
    with contextlib.suppress(NotFound):
        backend.cancel(handle)
        backend.forget(handle)


def _job_id(study_id: str, number: int) -> str:
    return f"{study_id}-t{number}"
