"""Processes of the local backend: started afresh, or forked by a nursery that has the heavy libraries loaded."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from maestro.core.errors import Unreachable
from maestro.training.backends import leash


class Process(Protocol):
    """One training process, the leader of its group.

    Obligations: once `poll` has given a code it keeps giving it, and `cpu_s` and `peak_memory_bytes` are those of the whole process tree that was waited for.
    """

    code: int | None
    cpu_s: float
    peak_memory_bytes: int

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        ...

    def signal(self, number: signal.Signals) -> None:
        """Signal the whole group; nothing happens when it is gone."""
        ...


class FreshProcess:
    """A command under the leash."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
        self.code: int | None = None
        self.cpu_s = 0.0
        self.peak_memory_bytes = 0
        with output.open("ab") as handle:
            self._process = subprocess.Popen(
                [sys.executable, "-S", leash.__file__, str(os.getpid()), *command], env=dict(environment), stdin=subprocess.DEVNULL,
                stdout=handle, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def poll(self) -> int | None:
        """Its exit status, with the accounting of the tree."""
        if self.code is None:
            try:
                # wait4 and not poll: it accounts for the process and all its descendants
                pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            except ChildProcessError:
                self.code = self._process.returncode = -signal.SIGKILL
                return self.code
            if pid:
                self.code = self._process.returncode = os.waitstatus_to_exitcode(status)
                self.cpu_s = usage.ru_utime + usage.ru_stime
                self.peak_memory_bytes = usage.ru_maxrss * 1024
                # what it left in its group goes with it
                self.signal(signal.SIGKILL)
        return self.code

    def signal(self, number: signal.Signals) -> None:
        """Signal the group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class WarmProcess:
    """A copy of the nursery; `poll` and `signal` go through the nursery's reports."""

    def __init__(self, nursery: Nursery, name: str) -> None:
        self.code: int | None = None
        self.cpu_s = 0.0
        self.peak_memory_bytes = 0
        self.pid: int | None = None
        self._nursery = nursery
        self._name = name

    def poll(self) -> int | None:
        """Its exit status as the nursery told it."""
        if self.code is None:
            self._nursery.listen()
        return self.code

    def signal(self, number: signal.Signals) -> None:
        """Signal the group; one that has not been forked yet never will be."""
        if self.code is not None:
            return
        if self.pid is None:
            self._nursery.drop(self._name)
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class Nursery:
    """The client of one nursery process (`maestro.training.backends.nursery`), which dies with this process. Used from one thread."""

    def __init__(self) -> None:
        self._processes: dict[str, WarmProcess] = {}
        self._rest = b""
        # one thread: a fork must not copy a pool of threads that are not there in the copy
        environment = dict(os.environ) | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "maestro.training.backends.nursery", str(os.getpid())], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def start(self, name: str, folder: Path, environment: Mapping[str, str], output: Path) -> WarmProcess:
        """Ask for a copy that runs the attempt in `folder`.

        Raises:
            Unreachable: the nursery is gone.
        """
        process = self._processes[name] = WarmProcess(self, name)
        output.touch()
        self._ask({"start": name, "folder": str(folder), "environment": dict(environment), "output": str(output)})
        return process

    def drop(self, name: str) -> None:
        """Withdraw a request; a copy that is forked all the same is killed as soon as it is known."""
        self._ask({"drop": name})
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline and self._processes[name].pid is None:
            self.listen(0.05)
        process = self._processes[name]
        if process.pid is not None:
            process.signal(signal.SIGKILL)
        elif process.code is None:
            process.code = -signal.SIGTERM

    def listen(self, timeout_s: float = 0.0) -> None:
        """Take in what the nursery has reported. If it is gone, so is everything it forked."""
        out = _pipe(self._process.stdout)
        while select.select([out], [], [], timeout_s)[0]:
            data = os.read(out.fileno(), 1 << 20)
            if not data:
                for process in self._processes.values():
                    if process.code is None:
                        process.code = -signal.SIGKILL
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
            timeout_s = 0.0

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            _pipe(self._process.stdin).close()
        self._process.kill()
        self._process.wait()
        _pipe(self._process.stdout).close()

    def _take(self, message: dict[str, object]) -> None:
        process = self._processes.get(str(message.get("id")))
        if process is None:
            return
        if "pid" in message:
            process.pid = int(str(message["pid"]))
            if process.code is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
        if "code" in message:
            process.code = int(str(message["code"]))
            process.cpu_s = float(str(message["cpu_s"]))
            process.peak_memory_bytes = int(str(message["peak_memory_bytes"]))

    def _ask(self, request: dict[str, object]) -> None:
        pipe = _pipe(self._process.stdin)
        try:
            pipe.write(json.dumps(request).encode() + b"\n")
            pipe.flush()
        except OSError as error:
            raise Unreachable(
                f"the nursery of training processes is gone: {error}",
                remedy="restart the worker",
                component="local backend",
            ) from error


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise AssertionError("the nursery was started with pipes")
    return stream
