"""Runs trials that leave something behind, each in a worker of its own, and prints what the worker tells of them."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd

from maestro.training.models.classifier import Classifier
from maestro.training.search.trial_server import _LIBRARIES, _warm_up
from maestro.training.search.trial_worker import serve
from tests.training.test_trial_server import setting

KEPT: list[Any] = []
BIG = 200 << 20


def _lower_a_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))


LEAKS = {
    "nothing": lambda: None,
    "variable": lambda: os.environ.update(LEFT="behind"),
    "directory": lambda: os.chdir("/"),
    "file": lambda: os.open("/dev/null", os.O_RDONLY),
    "memory": lambda: KEPT.append(b"x" * BIG),
    "thread": lambda: threading.Thread(target=time.sleep, args=(60,), daemon=True).start(),
    "process": lambda: KEPT.append(subprocess.Popen(["true"])),
    "limit": _lower_a_limit,
    "mask": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]),
}
SPIKE = {"spike": lambda: len(b"x" * BIG), "filter": lambda: warnings.simplefilter("error")}
"""What is gone, or set right, when the trial has ended."""


class Leaky(Classifier):
    """Does what `leave` names, and tells what the global random numbers and warning filters are."""

    def build(self, params: dict[str, Any], seed: int, *, has_missing: bool = False) -> Any:
        """A forest."""
        (LEAKS | SPIKE)[params["leave"]]()
        return super().build({"n_estimators": 2}, seed, has_missing=has_missing)

    def metrics(self, model: Any, features: pd.DataFrame, target: np.ndarray) -> dict[str, float]:
        """Those of a classifier, and what a trial before this one may have changed."""
        found = {
            "plain": random.random(),
            "numpy": float(np.random.random()),
            "filters": float(len(warnings.filters)),
        }
        return super().metrics(model, features, target) | found


def run(*leaks: str) -> list[dict[str, Any]]:
    """What a new worker tells of trials after each other: of its end, and its metrics."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        os._exit(serve(theirs, Leaky(), setting(judged=False)))
    theirs.close()
    told = []
    with ours, ours.makefile() as lines:
        for leak in leaks:
            channel, far = socket.socketpair()
            line = json.dumps({"start": 0, "params": {"leave": leak}, "timeout_s": 60.0}).encode() + b"\n"
            socket.send_fds(ours, [line], [far.fileno()])
            far.close()
            end = json.loads(lines.readline())
            with channel, channel.makefile() as spoken:
                told.append(end | json.loads(spoken.readlines()[-1]))
    os.wait()
    return told


if __name__ == "__main__":
    for name in _LIBRARIES:
        __import__(name)
    _warm_up(Classifier(), setting(judged=False))
    # a worker does not need a folder that has a name
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
    print(
        json.dumps(
            {"stays": {leak: run(leak)[0]["stays"] for leak in LEAKS}, "after": run("spike", "filter", "nothing")}
        )
    )
