"""The process that a trial runs in: forked from the server, it takes one trial after the other for as long as each leaves it as it was.

What a trial may leave behind is looked for: anything but a regular end, threads, processes, open files, a changed environment, directory, limit or signal
mask, memory that was not given back. Such a process takes no further trial; the next one gets a new fork. Random numbers begin anew with every trial, as they do in a new fork. What costs a
fork its time (copying page tables and, at the first touch, every page that is written) is so paid once a process, not once a trial.

Protocol with the server, one JSON object a line. In: a trial's `{"start": …}` as the server got it, its channel sent along. Out: `{"ended": code, "cpu_s": …, "peak_memory_bytes": …,
"used_s": …, "stays": …}`: CPU seconds of this trial and of the process so far, and whether it takes another trial.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from maestro.training.models import ModelType
from maestro.training.search._trials import Setting
from maestro.training.search.objective import evaluate

_MAY_KEEP = 64 << 20
"""Bytes by which a trial may leave the process larger than it was when it was new."""

_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})


def serve(link: socket.socket, kind: ModelType, setting: Setting) -> int:
    """Run the trials that come over `link`, until it closes."""
    origin = _Origin()
    waiting, channels = b"", list[int]()
    while True:
        data, descriptors, _, _ = socket.recv_fds(link, 1 << 16, 1)
        if not data:
            return 0
        channels += descriptors
        waiting += data
        if not waiting.endswith(b"\n"):
            continue
        message, waiting = json.loads(waiting), b""
        origin.restore()
        _forget_peak()
        before = _cpu_s()
        code = _run(kind, setting, message, channels.pop(0))
        used = _cpu_s()
        told = {
            "ended": code, "cpu_s": used - before, "used_s": used, "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "stays": code == 0 and origin.is_kept(),
        }  # fmt: skip
        link.sendall(json.dumps(told).encode() + b"\n")


def _run(kind: ModelType, setting: Setting, message: dict[str, Any], channel: int) -> int:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, float(message["timeout_s"]))
    with socket.socket(fileno=channel) as trial, trial.makefile("rwb") as stream, warnings.catch_warnings():

        def tell(told: dict[str, Any]) -> None:
            stream.write(json.dumps(told).encode() + b"\n")
            stream.flush()

        goes_on = (lambda: stream.readline() == b"go\n") if setting.judged else None
        try:
            return evaluate(kind, setting.request, setting.prepared, message["params"], tell, goes_on)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)


@dataclass
class _Origin:
    """How the process was when it was new."""

    state: tuple[Any, ...] = field(default_factory=lambda: _state())
    resident: int = field(default_factory=lambda: _resident_bytes())
    plain: Any = field(default_factory=random.getstate)
    numpy: Any = None

    def __post_init__(self) -> None:
        import numpy as np

        self.numpy = np.random.get_state()

    def restore(self) -> None:
        """Begin the random numbers anew."""
        import numpy as np

        random.setstate(self.plain)
        np.random.set_state(self.numpy)

    def is_kept(self) -> bool:
        """Whether nothing was left behind that the next trial would meet."""
        return _state() == self.state and _resident_bytes() <= self.resident * 1.5 + _MAY_KEEP


def _state() -> tuple[Any, ...]:
    """What this process hands on from one trial to the next, but for its memory."""
    here = os.stat(".")  # its name may be gone
    return (
        dict(os.environ), (here.st_dev, here.st_ino), threading.active_count(), len(_listed("/proc/self/task")), _listed("/proc/self/fd"),
        _has_children(), [resource.getrlimit(limit) for limit in _LIMITS], signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    )  # fmt: skip


def _listed(folder: str) -> set[str]:
    """The entries of a folder; none where the system does not tell."""
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _cpu_s() -> float:
    """CPU seconds of this process and of those that it waited for."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _forget_peak() -> None:
    """Let the highest resident memory be counted from now on; where the system cannot, it is that of the process so far."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")


def _resident_bytes() -> int:
    """Resident memory now; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as stream:
            return int(stream.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
