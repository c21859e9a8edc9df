"""A process that holds the data and the libraries of a search and forks the processes of its trials (`trial_worker`), one for each trial that runs.

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
from maestro.training.search.trial_worker import serve

_LIBRARIES = ("sklearn.metrics", "sklearn.model_selection", "sklearn.pipeline", "sklearn.preprocessing", "pandas")


@dataclass
class _Trial:
    number: int
    began: float


@dataclass
class _Worker:
    """A process that runs trials: `used_s` is the CPU that was accounted to its earlier ones."""

    link: socket.socket
    trial: _Trial | None = None
    stays: bool = True
    used_s: float = 0.0
    rest: bytes = b""


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
        self._workers: dict[int, _Worker] = {}
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
            heard = {worker.link.fileno(): pid for pid, worker in self._workers.items() if worker.link.fileno() >= 0}
            readable, _, _ = select.select([self._control.fileno(), wake, *heard], [], [])
            for descriptor in readable:
                if descriptor in heard:
                    self._hear(self._workers[heard[descriptor]])
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
        for pid in self._workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # waited for, so that what they used is accounted to whoever waits for this process
        for pid in self._workers:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _obey(self, message: dict[str, Any]) -> None:
        if "load" in message:
            self._load(message["load"])
            return
        channel = self._channels.pop(0)
        trial = _Trial(int(message["start"]), time.monotonic())
        line = json.dumps(message).encode() + b"\n"
        pid = next((pid for pid, worker in self._workers.items() if worker.stays and worker.trial is None), None)
        try:
            if pid is None or not self._hand(pid, line, channel):
                pid = self._fork(channel)
                self._hand(pid, line, channel)
        finally:
            os.close(channel)
        # one that died at once is told of when it is reaped
        self._workers[pid].trial = trial
        self._say({"id": message["start"], "pid": pid})

    def _hand(self, pid: int, line: bytes, channel: int) -> bool:
        """Give a trial to a worker; false where it died while it had nothing to do."""
        worker = self._workers[pid]
        try:
            socket.send_fds(worker.link, [line], [channel])
        except OSError:
            worker.stays = False
        return worker.stays

    def _load(self, file: str) -> None:
        for worker in self._workers.values():
            # they hold the data of an earlier search
            worker.stays = False
            worker.link.close()
        with open(file, "rb") as stream:
            self._setting = pickle.load(stream)  # noqa: S301 - our own file
        self._kind = model_type(self._setting.request.search_space.model_type)
        _warm_up(self._kind, self._setting)
        gc.collect()
        gc.freeze()
        self._say({"loaded": True})

    def _fork(self, channel: int) -> int:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                # what only the server may hold: a link ends when its one holder closes it
                os.close(channel)
                for link in (ours, self._control, *(worker.link for worker in self._workers.values())):
                    link.close()
                code = self._grow(theirs)
            finally:
                # no exit handlers and no destructors of what the server holds
                os._exit(code)
        theirs.close()
        self._workers[pid] = _Worker(ours)
        return pid

    def _grow(self, link: socket.socket) -> int:
        server = os.getppid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        leash.die_with(server, signal.SIGKILL)
        if self._setting is None or self._kind is None:
            raise AssertionError("a trial was started before its data were loaded")
        return serve(link, self._kind, self._setting)

    def _hear(self, worker: _Worker) -> None:
        """What a worker says of its trial's end; nothing of one that is gone, which `_reap` finds."""
        while worker.link.fileno() >= 0 and select.select([worker.link], [], [], 0.0)[0]:
            try:
                data = worker.link.recv(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                worker.stays = False
                worker.link.close()
                return
            *lines, worker.rest = (worker.rest + data).split(b"\n")
            for line in lines:
                told = json.loads(line)
                worker.used_s = told["used_s"]
                self._tell(worker, told["ended"], told["cpu_s"], told["peak_memory_bytes"])
                if not told["stays"]:
                    worker.stays = False
                    worker.link.close()

    def _reap(self) -> None:
        for pid in list(self._workers):
            found, status, usage = os.wait4(pid, os.WNOHANG)
            if not found:
                continue
            worker = self._workers.pop(pid)
            self._hear(worker)
            worker.link.close()
            if worker.trial is not None:
                cpu_s = max(usage.ru_utime + usage.ru_stime - worker.used_s, 0.0)
                self._tell(worker, os.waitstatus_to_exitcode(status), cpu_s, usage.ru_maxrss * 1024)

    def _tell(self, worker: _Worker, code: int, cpu_s: float, peak_memory_bytes: int) -> None:
        if worker.trial is None:
            return
        trial, worker.trial = worker.trial, None
        self._say({
            "id": trial.number, "ended": code, "wall_s": time.monotonic() - trial.began, "cpu_s": cpu_s, "peak_memory_bytes": peak_memory_bytes,
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
