"""The worker: takes jobs, runs them behind a backend, keeps their leases, publishes what they leave."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from maestro.core.errors import Fenced, MaestroError, Unreachable
from maestro.core.rates import RateCard, load_rates
from maestro.core.settings import TrainingSettings
from maestro.observability.tracing import Span, end_span, open_span
from maestro.training.backends import Attempt, BackendStatus, Phase, TrainingBackend
from maestro.training.billing import bill_attempt
from maestro.training.job import Bill, Lease, LogLine, Outcome
from maestro.training.leases import Leases
from maestro.training.search.orphans import end_orphans
from maestro.training.signals import LEVELS, UNTOLD, parse

log = logging.getLogger(__name__)

_LINES_PER_BATCH = 500
_BATCH_EVERY_S = 1.0


@dataclass
class _Running:
    """One attempt in the worker's hands."""

    lease: Lease
    attempt: Attempt
    backend: TrainingBackend
    began: float
    renewed: float
    offset: int = 0
    progress: float = 0.0
    message: str = "starting"
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    lines: list[LogLine] = field(default_factory=list)
    trials: list[dict[str, Any]] = field(default_factory=list)
    dropped: int = 0
    flushed: float = 0.0
    cancel: bool = False
    lost: bool = False
    elsewhere_cpu_s: float = 0.0
    bill: Bill | None = None
    span: Span = field(default_factory=lambda: open_span("training attempt"))


class Worker:
    """Runs up to `slots` attempts at once, until told to stop.

    `run` works in the thread that calls it: processes are started there and nowhere else, since they are bound to the life of the thread that starts them.
    Heartbeats have a thread of their own, so that a slow backend or disk costs no lease. A lease that could not be renewed in time is given up by the worker itself.

    Args:
        leases: the queue.
        backends: what it can run, by name.
        attempts: the folder under which each attempt gets one of its own.
        options: slots and times.
        environment: given to every child, such as `MLFLOW_TRACKING_URI`.
    """

    def __init__(
        self,
        leases: Leases,
        backends: Mapping[str, TrainingBackend],
        attempts: Path,
        options: TrainingSettings,
        *,
        environment: Mapping[str, str] | None = None,
        rates: RateCard | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or f"worker/{socket.gethostname()}-{os.getpid()}"
        self._leases = leases
        self._clock = leases.store.clock
        self._backends = backends
        self._attempts = attempts
        self._options = options
        self._environment = dict(environment or {})
        self._rates = rates or load_rates()
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then what runs is stopped and put back in the queue."""
        for backend in self._backends.values():
            backend.warm_up()
        beating = threading.Thread(target=self._beat, args=(stop,), name="heartbeats", daemon=True)
        beating.start()
        looked = -1e9
        try:
            while not stop.is_set():
                try:
                    if self._clock.monotonic() - looked >= self._options.lease_s / 3:
                        looked = self._clock.monotonic()
                        for job_id in self._leases.requeue_expired():
                            log.warning("took back %s: its worker gave no sign of life", job_id)
                        end_orphans(self._leases.store.database, self._backends)
                    self._take()
                except Unreachable as error:
                    log.warning("cannot look for work: %s", error.detail)
                for running in list(self._running.values()):
                    try:
                        self._advance(running)
                    except Unreachable as error:
                        # a remote backend that does not answer: its work goes on, and is asked for again
                        log.warning("cannot ask for %s: %s", running.lease.job_id, error.detail)
                stop.wait(self._options.poll_s if self._running else min(self._options.poll_s, 0.25))
        finally:
            stop.set()
            for running in list(self._running.values()):
                self._give_back(running)
            for backend in self._backends.values():
                backend.close()
            beating.join(timeout=5)

    def _take(self) -> None:
        while len(self._running) < self._options.slots:
            lease = self._leases.claim(self.name, list(self._backends))
            if lease is None:
                return
            self._start(lease)

    def _start(self, lease: Lease) -> None:
        now = self._clock.monotonic()
        folder = self._attempts / lease.job_id / str(lease.fence)
        span = open_span(
            "training attempt",
            parent=lease.traceparent,
            kind="consumer",
            attributes={"maestro.job": lease.job_id, "maestro.attempt": lease.attempt},
        )
        attempt = Attempt(
            job_id=lease.job_id, attempt=lease.attempt, fence=lease.fence, request=lease.request, submitted_by=lease.submitted_by,
            folder=folder, environment=self._environment | {"TRACEPARENT": span.traceparent},
        )  # fmt: skip
        running = _Running(lease, attempt, self._backends[lease.request.backend], now, now, span=span)
        try:
            running.backend.submit(attempt)
        except MaestroError as error:
            running.error = error.problem()
            self._fail(running, BackendStatus(phase=Phase.FAILED), retry=error.exit_code == 3)
            return
        except OSError as error:
            problem = Unreachable(
                f"attempt folder {folder}: {error.strerror}", remedy="free disk space", component="disk"
            ).problem()
            running.error = problem
            self._fail(running, BackendStatus(phase=Phase.FAILED), retry=True)
            return
        with self._lock:
            self._running[lease.job_id] = running
        log.info(
            "started %s attempt %d (fence %d)", lease.job_id, lease.attempt, lease.fence, extra={"trace": span.trace_id}
        )

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(self._options.heartbeat_s):
            with self._lock:
                held = [running for running in self._running.values() if not running.lost]
            for running in held:
                asked = self._clock.monotonic()
                try:
                    running.cancel = (
                        self._leases.heartbeat(running.lease, progress=running.progress, message=running.message)
                        or running.cancel
                    )
                    running.renewed = asked
                except Fenced:
                    running.lost = True
                except MaestroError as error:
                    log.warning("heartbeat of %s: %s", running.lease.job_id, error.detail)
                    running.lost = self._clock.monotonic() - running.renewed > self._options.lease_s

    def _advance(self, running: _Running) -> None:
        handle = running.attempt.handle
        status = running.backend.status(handle)
        self._read(running)
        if status.phase is Phase.PENDING and status.reason:
            running.message = status.reason
        if running.lost:
            log.warning("gave up %s: its lease is lost", running.lease.job_id)
            self._end(running)
            return
        try:
            self._flush(running, force=status.phase in {Phase.SUCCEEDED, Phase.FAILED})
            if running.cancel:
                running.backend.cancel(handle)
                self._leases.cancelled(running.lease, self._bill(running, running.backend.status(handle)))
                end_orphans(self._leases.store.database, self._backends)
            elif status.phase is Phase.SUCCEEDED:
                self._publish(running, status)
            elif status.phase is Phase.FAILED:
                bad = (running.error or {}).get("status") in {400, 404, 409, 413, 422}
                self._fail(running, status, retry=not bad)
            elif self._clock.monotonic() - running.began > running.lease.request.timeout_s:
                running.backend.cancel(handle)
                running.error = {
                    "type": "urn:maestro:problem:timeout", "title": "Time limit", "status": 503,
                    "detail": f"stopped after timeout_s = {running.lease.request.timeout_s} s", "field": "timeout_s",
                    "remedy": "raise timeout_s or ask for less work",
                }  # fmt: skip
                self._fail(running, running.backend.status(handle), retry=True)
            else:
                return
        except Fenced:
            log.warning("the result of %s is refused: its lease is lost", running.lease.job_id)
        except Unreachable as error:
            log.warning("cannot write what %s did, will try again: %s", running.lease.job_id, error.detail)
            return
        self._end(running)

    def _publish(self, running: _Running, status: BackendStatus) -> None:
        if running.result is None and not running.attempt.command:
            running.error = {
                "type": "urn:maestro:problem:no-result", "title": "No result", "status": 500,
                "detail": "the training process ended without a result", "remedy": "see the job's log",
            }  # fmt: skip
            self._fail(running, status, retry=True)
            return
        try:
            outcome = Outcome.model_validate(running.result or {})
        except ValidationError as error:
            running.error = {
                "type": "urn:maestro:problem:bad-result", "title": "Bad result", "status": 422,
                "detail": f"the training process left a result that cannot be read: {error.errors()[0]['loc']}", "remedy": "correct the training code",
            }  # fmt: skip
            self._fail(running, status, retry=False)
            return
        self._leases.complete(running.lease, outcome, self._bill(running, status))
        log.info("completed %s", running.lease.job_id)

    def _fail(self, running: _Running, status: BackendStatus, *, retry: bool) -> None:
        if running.error is None and status.exit_code == UNTOLD:
            running.error = Unreachable(
                f"the attempt's output in {running.attempt.folder.parent.name} cannot be written: its disk is full",
                remedy="free disk space where the worker keeps its attempts, then retry the job", component="disk",
            ).problem()  # fmt: skip
        error = running.error or {
            "type": "urn:maestro:problem:training-failed", "title": "Training failed", "status": 500,
            "detail": status.reason or "the training process failed", "remedy": "see the job's log",
        }  # fmt: skip
        log.warning("%s failed: %s", running.lease.job_id, error.get("detail"))
        try:
            self._leases.fail(running.lease, error, self._bill(running, status), retry=retry)
        except Fenced:
            log.warning("the failure of %s is refused: its lease is lost", running.lease.job_id)

    def _give_back(self, running: _Running) -> None:
        try:
            running.backend.cancel(running.attempt.handle)
            self._leases.give_back(running.lease, self._bill(running, running.backend.status(running.attempt.handle)))
        except MaestroError as error:
            log.warning("%s is left to its lease: %s", running.lease.job_id, error.detail)
        self._end(running)

    def _end(self, running: _Running) -> None:
        with self._lock:
            self._running.pop(running.lease.job_id, None)
        try:
            running.backend.forget(running.attempt.handle)
        except MaestroError as error:
            log.warning("what is kept of %s stays behind: %s", running.attempt.handle, error.detail)
        end_span(running.span, str(running.error.get("detail")) if running.error else None)
        # what is worth keeping is in MLflow and the database
        shutil.rmtree(running.attempt.folder, ignore_errors=True)

    def _bill(self, running: _Running, status: BackendStatus) -> Bill:
        # an attempt is billed once: writing its end may have to be tried again while the database is away
        if running.bill is None:
            wall = self._clock.monotonic() - running.began
            cpu_s = status.cpu_s + running.elsewhere_cpu_s
            running.bill = bill_attempt(running.lease.request, wall, cpu_s, status.peak_memory_bytes, self._rates)
        return running.bill

    def _read(self, running: _Running) -> None:
        lines, running.offset = running.backend.logs(running.attempt.handle, running.offset)
        for line in lines:
            kind, fields = parse(line)
            if kind == "progress":
                running.progress = float(fields.get("fraction", running.progress))
                running.message = str(fields.get("message", running.message))
            elif kind == "result":
                running.result = fields
            elif kind == "error":
                running.error = fields
            elif kind == "trial":
                running.elsewhere_cpu_s += float(fields.pop("elsewhere_cpu_s", 0.0))
                running.trials.append(fields)
            elif kind == "log" and str(fields.get("message", "")).strip():
                self._remember(running, fields)

    def _remember(self, running: _Running, fields: dict[str, Any]) -> None:
        if len(running.lines) >= _LINES_PER_BATCH:
            running.dropped += 1
            return
        level = str(fields.get("level", "info"))
        message = str(fields["message"]).replace("\0", "")
        running.lines.append(
            LogLine(
                attempt=running.lease.attempt,
                at=self._clock.now(),
                level=level if level in LEVELS else "info",
                message=message,
            )
        )

    def _flush(self, running: _Running, *, force: bool) -> None:
        while running.trials:
            self._leases.trial(running.lease, running.trials[0])
            del running.trials[0]
        now = self._clock.monotonic()
        if not running.lines or (not force and now - running.flushed < _BATCH_EVERY_S):
            return
        if running.dropped:
            text = f"{running.dropped} lines were dropped: more than {_LINES_PER_BATCH} in {_BATCH_EVERY_S:g} s"
            running.lines.append(
                LogLine(attempt=running.lease.attempt, at=self._clock.now(), level="warning", message=text)
            )
        self._leases.log(running.lease, running.lines)
        running.lines, running.dropped, running.flushed = [], 0, now
