"""A process that holds the data and the libraries of a search and forks one process for each trial.

A trial so has its memory, its CPU seconds and its end accounted by the system, is ended by the kernel when its time is over even if everybody
else is stopped, and takes nobody along when it crashes. Only imports and reading the data happen before a fork: no thread runs here.

Protocol, one JSON object a line over the socket whose number is the second argument. In: `{"load": file}` (a pickle of Setting), `{"start": id, "params": …,
"timeout_s": …}` with the trial's own channel sent along. Out: `{"ready": true}`, `{"loaded": true}`, `{"id": …, "pid": …}`, `{"id": …, "ended": code, "wall_s": …, "cpu_s": …,
"peak_memory_bytes": …}`. Over the channel a trial sends `{"step": …, "means": …, "seconds": …}` and, when it is judged, waits for a line
`go` or `end`; its last line is `{"done": …}`, `{"problem": …}` or `{"failed": text}`.
"""

from __future__ import annotations

import gc
import json
import os
import pickle  # nosec - the file is written by the search that started this process
import select
import signal
import socket
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from maestro.training.backends import leash
from maestro.training.models import ModelType, model_type
from maestro.training.search._trials import Setting
from maestro.training.search.objective import evaluate

_LIBRARIES = ("sklearn.metrics", "sklearn.model_selection", "sklearn.pipeline", "sklearn.preprocessing", "pandas")


@dataclass
class _Trial:
    number: int
    began: float


def main(arguments: list[str]) -> int:
    """Serve until the socket closes."""
    leash.die_with(int(arguments[0]), signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    for name in _LIBRARIES:
        __import__(name)
    _Server(socket.socket(fileno=int(arguments[1]))).run()
    return 0


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._running: dict[int, _Trial] = {}
        self._channels: list[int] = []
        self._setting: Setting | None = None
        self._kind: ModelType | None = None

    def run(self) -> None:
        wake, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._say({"ready": True})
        waiting = b""
        while True:
            readable, _, _ = select.select([self._control.fileno(), wake], [], [])
            if wake in readable:
                os.read(wake, 4096)
                self._reap()
            if self._control.fileno() in readable:
                data, descriptors, _, _ = socket.recv_fds(self._control, 1 << 20, 16)
                self._channels += descriptors
                if not data:
                    break
                *lines, waiting = (waiting + data).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))
        for pid in self._running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # waited for, so that what they used is accounted to whoever waits for this process
        for pid in self._running:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _obey(self, message: dict[str, Any]) -> None:
        if "load" in message:
            with open(message["load"], "rb") as stream:
                self._setting = pickle.load(stream)  # noqa: S301 - our own file
            space = self._setting.request.search_space
            self._kind = model_type(space.model_type)
            _warm_up(self._kind, self._setting)
            gc.collect()
            gc.freeze()
            self._say({"loaded": True})
            return
        channel = self._channels.pop(0)
        began = time.monotonic()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = self._grow(channel, message)
            finally:
                # no exit handlers and no destructors of what the server holds
                os._exit(code)
        os.close(channel)
        self._running[pid] = _Trial(int(message["start"]), began)
        self._say({"id": message["start"], "pid": pid})

    def _grow(self, channel: int, message: dict[str, Any]) -> int:
        server = os.getppid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, float(message["timeout_s"]))
        leash.die_with(server, signal.SIGKILL)
        self._control.close()
        if self._setting is None or self._kind is None:
            raise AssertionError("a trial was started before its data were loaded")
        setting = self._setting
        with socket.socket(fileno=channel) as link, link.makefile("rwb") as stream:

            def tell(told: dict[str, Any]) -> None:
                stream.write(json.dumps(told).encode() + b"\n")
                stream.flush()

            goes_on = (lambda: stream.readline() == b"go\n") if setting.judged else None
            return evaluate(self._kind, setting.request, setting.prepared, message["params"], tell, goes_on)

    def _reap(self) -> None:
        for pid in list(self._running):
            found, status, usage = os.wait4(pid, os.WNOHANG)
            if found:
                trial = self._running.pop(pid)
                self._say({
                    "id": trial.number, "ended": os.waitstatus_to_exitcode(status), "wall_s": time.monotonic() - trial.began,
                    "cpu_s": usage.ru_utime + usage.ru_stime, "peak_memory_bytes": usage.ru_maxrss * 1024,
                })  # fmt: skip

    def _say(self, message: dict[str, Any]) -> None:
        self._control.sendall(json.dumps(message).encode() + b"\n")


def _warm_up(kind: ModelType, setting: Setting) -> None:
    """Import once, for all trials, what building, splitting and measuring import when they are first called; what fails here is told by the trial that meets it.

    Nothing is fitted but a constant, since a library that starts threads to fit cannot be forked afterwards.
    """
    from sklearn.dummy import DummyClassifier, DummyRegressor

    prepared = setting.prepared
    with suppress(Exception):
        kind.build(dict(setting.request.search_space.fixed), 0)
        dummy = (
            DummyClassifier()
            if kind.output(DummyClassifier().fit([[0], [1]], [0, 1])).kind == "classification"
            else DummyRegressor()
        )
        dummy.fit(prepared.train, prepared.train_target)
        kind.metrics(dummy, prepared.train, prepared.train_target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
