"""A process that has the heavy libraries loaded and forks one training process for each request.

Importing Feast, MLflow and scikit-learn costs some twelve CPU seconds, far more than training a small model. They are imported once, and each attempt starts as a copy, in a group
of its own, with the environment and the output file that the request names. Nothing but imports happens before the fork: no settings are read, no client is opened, and
no Python thread runs.

Protocol, one JSON object a line. In: `{"start": id, "folder": …, "output": …, "environment": {…}}`, `{"drop": id}` (not to be started, if it has not been).
Out: `{"ready": true}`, `{"id": …, "pid": …}`, `{"id": …, "code": …, "cpu_s": …, "peak_memory_bytes": …}`. It ends, and what it forked with it, when its starter does.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import sys
import threading
import warnings
from typing import Any

from maestro.training.backends import leash

_FEAST = (
    "feast", "feast.infra.offline_stores.dask", "feast.infra.online_stores.sqlite", "feast.infra.passthrough_provider",
    "feast.infra.registry.registry",
)  # fmt: skip
_OTHERS = (
    "mlflow.sklearn", "sklearn.ensemble", "sklearn.linear_model", "sklearn.metrics", "skops.io", "skl2onnx", "onnxruntime",
    "maestro.training.child",
)  # fmt: skip


def main(arguments: list[str]) -> int:
    """Serve requests from standard input until it closes."""
    starter = int(arguments[0])
    leash.die_with(starter, signal.SIGKILL)
    _preload()
    if threading.active_count() != 1:
        return 1
    wake, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.freeze()
    _say({"ready": True})
    running: dict[int, str] = {}
    waiting = b""
    while True:
        readable, _, _ = select.select([0, wake], [], [])
        if wake in readable:
            os.read(wake, 4096)
            _reap(running)
        if 0 in readable:
            data = os.read(0, 1 << 20)
            if not data:
                break
            *lines, waiting = (waiting + data).split(b"\n")
            requests = [json.loads(line) for line in lines if line.strip()]
            dropped = {request["drop"] for request in requests if "drop" in request}
            for request in requests:
                if "start" in request and request["start"] not in dropped:
                    pid = _fork(request)
                    running[pid] = request["start"]
                    _say({"id": request["start"], "pid": pid})
    for pid in running:
        _kill(pid)
    return 0


def _preload() -> None:
    warnings.simplefilter("ignore")
    for name in _FEAST:
        importlib.import_module(name)
    from maestro.clients.mlflow import import_mlflow

    import_mlflow()
    for name in _OTHERS:
        importlib.import_module(name)


def _fork(request: dict[str, Any]) -> int:
    nursery = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = _grow(request, nursery)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # no exit handlers and no destructors of what the nursery holds
        os._exit(code)


def _grow(request: dict[str, Any], nursery: int) -> int:
    os.setsid()
    leash.die_with(nursery, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    from maestro.training.child import main as train

    return train([request["folder"]])


def _reap(running: dict[int, str]) -> None:
    for pid in list(running):
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            # what the attempt left in its group goes with it
            _kill(pid)
            _say({
                "id": running.pop(pid), "code": os.waitstatus_to_exitcode(status), "cpu_s": usage.ru_utime + usage.ru_stime,
                "peak_memory_bytes": usage.ru_maxrss * 1024,
            })  # fmt: skip


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
