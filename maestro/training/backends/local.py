"""Training in processes of this machine; several workers find each other as torchrun's do."""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from maestro.core.errors import BadInput, NotFound, Unreachable
from maestro.training.backends._base import Attempt, BackendStatus, Phase
from maestro.training.backends.processes import FreshProcess, Nursery, Process

_SECRETS = ("MAESTRO_API_KEY", "MAESTRO_DATABASE_URL", "MAESTRO_NOTIFY")
_GRACE_S = 3.0
_USER_ERRORS = frozenset({0, 2, 4, None})
"""Exit statuses after which starting again would change nothing."""
_STUDY = "study"
_CHILD = (sys.executable, "-m", "maestro.training.child")


@dataclass
class _Worker:
    rank: int
    process: Process
    output: Path


@dataclass
class _Group:
    attempt: Attempt
    workers: list[_Worker] = field(default_factory=list)
    reason: str = ""
    restarts_left: int = 0
    past_cpu_s: float = 0.0
    past_peak_bytes: int = 0


class LocalBackend:
    """Each worker is a process in a group of its own that dies with this process.

    Environment of a worker: `MASTER_ADDR`, `MASTER_PORT`, `RANK`, `LOCAL_RANK`, `WORLD_SIZE`, `LOCAL_WORLD_SIZE`, threads capped to its cores, and none of our
    credentials. An allocation of cores and memory is billed and recorded; the laptop does not enforce it.

    Args:
        command: what an attempt runs that brings no command of its own; the attempt's folder is appended.
    """

    name = "local"

    def __init__(self, command: Sequence[str] = _CHILD) -> None:
        self._command = tuple(command)
        self._nursery: Nursery | None = None
        self._groups: dict[str, _Group] = {}

    def warm_up(self) -> None:
        """Start the nursery, which loads the heavy libraries while no job waits for them."""
        if self._nursery is None and self._command == _CHILD and sys.platform == "linux":
            self._nursery = Nursery()

    def submit(self, attempt: Attempt) -> None:
        """Start the workers."""
        if attempt.handle in self._groups:
            return
        request = attempt.request
        if request.resources.gpu:
            raise BadInput(
                "the local backend has no GPUs to give",
                field="resources.gpu",
                remedy="ask for 0, or use a cluster backend",
            )
        attempt.folder.mkdir(parents=True, exist_ok=True)
        (attempt.folder / "attempt.json").write_text(attempt.model_dump_json(by_alias=True))
        group = _Group(attempt, restarts_left=_restarts(attempt))
        self._groups[attempt.handle] = group
        self._begin(group)

    def _begin(self, group: _Group) -> None:
        attempt, request = group.attempt, group.attempt.request
        command = attempt.command or (*self._command, str(attempt.folder))
        port = _free_port()
        threads = str(max(1, math.floor(request.resources.cpu)))
        for rank in range(request.workers):
            folder = attempt.folder / f"rank-{rank}"
            folder.mkdir(exist_ok=True)
            environment = {name: value for name, value in os.environ.items() if name not in _SECRETS} | attempt.environment | {
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(request.workers), "LOCAL_WORLD_SIZE": str(request.workers), "PYTHONUNBUFFERED": "1",
                "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads,
            }  # fmt: skip
            output = folder / "output.log"
            try:
                process = self._process(attempt, command, environment, output)
            except OSError as error:
                self.cancel(attempt.handle)
                raise Unreachable(
                    f"a training process cannot start: {error}",
                    remedy="free memory, processes or disk",
                    component="local backend",
                ) from error
            group.workers.append(_Worker(rank, process, output))

    def status(self, handle: str) -> BackendStatus:
        """Running until every worker has ended; failed as soon as one has."""
        group = self._group(handle)
        for worker in group.workers:
            worker.process.poll()
        failed = next((worker for worker in group.workers if worker.process.code not in {None, 0}), None)
        if failed is not None and any(worker.process.code is None for worker in group.workers):
            group.reason = group.reason or _reason(failed)
            self._stop(group)
        if failed is not None and group.restarts_left > 0 and failed.process.code not in _USER_ERRORS:
            self._restart(group)
            failed = None
        cpu_s = group.past_cpu_s + sum(worker.process.cpu_s for worker in group.workers)
        peak = max(group.past_peak_bytes, sum(worker.process.peak_memory_bytes for worker in group.workers))
        if any(worker.process.code is None for worker in group.workers):
            return BackendStatus(phase=Phase.RUNNING, cpu_s=cpu_s, peak_memory_bytes=peak)
        if failed is None:
            return BackendStatus(phase=Phase.SUCCEEDED, exit_code=0, cpu_s=cpu_s, peak_memory_bytes=peak)
        return BackendStatus(
            phase=Phase.FAILED,
            exit_code=failed.process.code,
            reason=group.reason or _reason(failed),
            cpu_s=cpu_s,
            peak_memory_bytes=peak,
        )

    def logs(self, handle: str, offset: int = 0) -> tuple[list[str], int]:
        """Lines of rank 0; the others' files lie in the attempt's folder beside it."""
        group = self._group(handle)
        try:
            with group.workers[0].output.open("rb") as stream:
                stream.seek(offset)
                data = stream.read(1 << 20)
        except (OSError, IndexError):
            return [], offset
        ended = group.workers[0].process.code is not None
        whole = data if ended and len(data) < 1 << 20 else data[: data.rfind(b"\n") + 1]
        return whole.decode("utf-8", "replace").splitlines(), offset + len(whole)

    def cancel(self, handle: str) -> None:
        """SIGTERM to every worker's group, SIGKILL to what is left after three seconds."""
        group = self._group(handle)
        group.reason = group.reason or "cancelled"
        group.restarts_left = 0
        self._stop(group)

    def forget(self, handle: str) -> None:
        """Drop what is known of an ended attempt."""
        group = self._groups.get(handle)
        if group is not None:
            self._stop(group)
            del self._groups[handle]

    def known(self) -> list[str]:
        """The handles of this process's attempts."""
        return sorted(self._groups)

    def close(self) -> None:
        """Stop every group, and the nursery."""
        for handle in list(self._groups):
            self.forget(handle)
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None

    def _process(self, attempt: Attempt, command: Sequence[str], environment: dict[str, str], output: Path) -> Process:
        request = attempt.request
        # a copy has the threads of one core; a study's cores are those of its trials, which are processes of their own
        alone = request.workers == 1 and (request.resources.cpu < 2 or request.model_type == _STUDY)
        if self._nursery is not None and self._nursery.is_alive and alone and not attempt.command:
            return self._nursery.start(attempt.handle, attempt.folder, environment, output)
        return FreshProcess(command, environment, output)

    def _group(self, handle: str) -> _Group:
        if handle not in self._groups:
            raise NotFound(f"the local backend knows no attempt {handle!r}", field="handle", remedy="submit it first")
        return self._groups[handle]

    def _restart(self, group: _Group) -> None:
        """Start every worker again; each goes on from the last checkpoint, if its training keeps any."""
        ended = list(group.workers)
        group.past_cpu_s += sum(worker.process.cpu_s for worker in ended)
        group.past_peak_bytes = max(group.past_peak_bytes, sum(worker.process.peak_memory_bytes for worker in ended))
        group.restarts_left -= 1
        reason = group.reason or next(_reason(worker) for worker in ended if worker.process.code)
        with ended[0].output.open("ab") as output:
            output.write(f"\nthe group is started again: {reason}\n".encode())
        group.workers, group.reason = [], ""
        self._begin(group)

    def _stop(self, group: _Group) -> None:
        alive = [worker for worker in group.workers if worker.process.code is None]
        for worker in alive:
            worker.process.signal(signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_S
        while any(worker.process.code is None for worker in alive) and time.monotonic() < deadline:
            for worker in alive:
                worker.process.poll()
            time.sleep(0.02)
        for worker in alive:
            # the command may have ended and left children in its group
            worker.process.signal(signal.SIGKILL)
        while any(worker.process.code is None for worker in alive):
            for worker in alive:
                worker.process.poll()
            time.sleep(0.02)


def _restarts(attempt: Attempt) -> int:
    """How often a group is started again: `params.max_restarts`, or 3 for several workers and 0 for one."""
    given = attempt.request.params.get("max_restarts", 3 if attempt.request.workers > 1 and not attempt.command else 0)
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= 100:
        raise BadInput(
            f"max_restarts is {given!r}", field="params.max_restarts", remedy="give a whole number up to 100"
        )
    return given


def _reason(worker: _Worker) -> str:
    code = worker.process.code or 0
    number = -code if code < 0 else code - 128 if code > 128 else 0
    if number:
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        hint = "; out of memory?" if name == "SIGKILL" else ""
        return f"worker {worker.rank} was ended by {name}{hint}"
    return f"worker {worker.rank} ended with exit status {code}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
