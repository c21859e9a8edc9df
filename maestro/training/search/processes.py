"""The trials' processes as the search sees them: started, heard, judged, ended, accounted."""

from __future__ import annotations

import contextlib
import json
import os
import pickle  # nosec - read by our own process alone
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from maestro.core.errors import Unreachable
from maestro.training.search._trials import Begun, Ended, Setting, Step

LOCAL = "local"
"""The backend whose trials are processes."""

GRACE_S = 1.0
"""How long after its time limit a trial's process may be found ended: the kernel ends it at once, seeing it takes a moment."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class _Link:
    channel: socket.socket
    timeout_s: float
    began: float
    rest: bytes = b""
    last: dict[str, Any] = field(default_factory=dict)
    pid: int | None = None


class TrialProcesses:
    """The client of one trial server (`maestro.training.search.trial_server`), which ends with this process. Used from one thread.

    The server starts importing at once and may serve several searches after each other.
    """

    outlives: ClassVar[bool] = False
    grace_s: ClassVar[float] = GRACE_S

    def __init__(self) -> None:
        self._links: dict[int, _Link] = {}
        self._rest = b""
        self._control, theirs = socket.socketpair()
        # one thread each: a fork must not copy a pool of threads that are not there in the copy, and a trial is billed one core
        environment = dict(os.environ) | dict.fromkeys(_THREADS, "1")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "maestro.training.search.trial_server", str(os.getpid()), str(theirs.fileno())],
            env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()

    def __enter__(self) -> TrialProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load(self, setting: Setting) -> None:
        """Give the server what the next trials need."""
        with tempfile.NamedTemporaryFile(prefix="maestro-search-", delete=False) as stream:
            pickle.dump(setting, stream)
        try:
            self._ask({"load": stream.name})
            while not any("loaded" in message for message in self._read()):
                continue
        finally:
            Path(stream.name).unlink()

    def start(self, number: int, params: dict[str, Any], timeout_s: float) -> None:
        """Start a trial."""
        ours, theirs = socket.socketpair()
        line = json.dumps({"start": number, "params": params, "timeout_s": timeout_s}).encode() + b"\n"
        self._links[number] = _Link(ours, timeout_s, time.monotonic())
        try:
            socket.send_fds(self._control, [line], [theirs.fileno()])
        except OSError as error:
            raise self._gone() from error
        finally:
            theirs.close()

    def resume(self, trials: Mapping[int, Begun]) -> None:
        """Start them: nothing of an earlier process is left."""
        for number, begun in trials.items():
            self.start(number, begun.params, begun.timeout_s)

    def answer(self, number: int, *, go: bool) -> None:
        """Let a judged trial go on, or end it."""
        with contextlib.suppress(OSError):
            self._links[number].channel.sendall(b"go\n" if go else b"end\n")

    def wait(self, timeout_s: float | None = None) -> list[Step | Ended]:
        """What trials have told; waits for something, at most `timeout_s`.

        Raises:
            Unreachable: the server is gone.
        """
        by_socket = {
            link.channel.fileno(): number for number, link in self._links.items() if link.channel.fileno() >= 0
        }
        readable, _, _ = select.select([self._control.fileno(), *by_socket], [], [], timeout_s)
        events: list[Step | Ended] = []
        for descriptor in readable:
            if descriptor in by_socket:
                events += self._hear(by_socket[descriptor])
        if self._control.fileno() in readable:
            for message in self._read():
                number = int(message.get("id", -1))
                if "pid" in message and number in self._links:
                    self._links[number].pid = int(message["pid"])
                if "ended" in message:
                    events += self._hear(number)
                    events.append(self._ended(number, message))
        return events

    def drop(self) -> None:
        """Kill every trial that runs and wait for their ends."""
        while self._links:
            for link in self._links.values():
                # a trial that waits to be judged ends by itself when nobody is there
                link.channel.close()
                if link.pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(link.pid, signal.SIGKILL)
            self.wait(0.1)

    def close(self) -> None:
        """End the server and every trial, and wait for them."""
        for link in self._links.values():
            link.channel.close()
        self._links.clear()
        self._control.close()
        try:
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _hear(self, number: int) -> list[Step | Ended]:
        link = self._links[number]
        events: list[Step | Ended] = []
        while link.channel.fileno() >= 0 and select.select([link.channel], [], [], 0.0)[0]:
            try:
                data = link.channel.recv(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                link.channel.close()
                break
            *lines, link.rest = (link.rest + data).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "step" in message:
                    events.append(Step(number, int(message["step"]), message["means"], float(message["seconds"])))
                else:
                    link.last = message
        return events

    def _ended(self, number: int, message: dict[str, Any]) -> Ended:
        link = self._links.pop(number)
        link.channel.close()
        code, wall_s = int(message["ended"]), float(message["wall_s"])
        timed_out = code == -14 and not link.last
        failed = str(link.last.get("failed", ""))
        if code < 0 and not timed_out and not link.last:
            failed = f"its process was ended by signal {-code}" + ("; out of memory?" if code == -9 else "")
        elif code > 0 and not link.last:
            failed = f"its process ended with exit status {code}"
        return Ended(
            number, code, timed_out, link.last.get("done"), link.last.get("problem"), failed,
            # ended by the kernel at its limit; that it was seen later is nobody's use of the machine
            min(wall_s, link.timeout_s + GRACE_S), float(message["cpu_s"]), int(message["peak_memory_bytes"]),
        )  # fmt: skip

    def _read(self) -> list[dict[str, Any]]:
        try:
            data = self._control.recv(1 << 20)
        except ConnectionError:
            data = b""
        if not data:
            raise self._gone()
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def _ask(self, message: dict[str, Any]) -> None:
        try:
            self._control.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise self._gone() from error

    def _gone(self) -> Unreachable:
        code = self._process.poll()
        return Unreachable(
            f"the process that starts trials is gone (exit status {code})", remedy="free memory, then resume the study",
            component="search",
        )  # fmt: skip
