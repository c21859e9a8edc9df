"""Starts a group of workers on this machine and starts it again when one fails: `python -m maestro.training.distribution.launch --workers 2 -- python train.py`.

Each worker finds `RANK`, `LOCAL_RANK`, `WORLD_SIZE`, `LOCAL_WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT`, as torchrun sets them. A worker that fails ends the group; the whole group is
started again, and each worker goes on from the last checkpoint of its program. Lines of ranks above 0 are prefixed `[rank] `.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from maestro.training.distribution.rendezvous import free_port

_LEASH = Path(__file__).parents[1] / "backends" / "leash.py"
_KEPT_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_TOP_PAD_": "67108864"}
"""glibc keeps the memory of one step for the next, where it would give large arrays back to the kernel and have each page cleared anew. What the user sets holds."""
_USER_ERRORS = frozenset({2, 4})
_GRACE_S = 3.0


@dataclass(frozen=True)
class Launch:
    """What is started: a command, how many times, on how many threads and cores each, and how often again."""

    command: tuple[str, ...]
    workers: int
    max_restarts: int = 0
    threads: int = 1
    cores: tuple[int, ...] = ()

    def run(self) -> int:
        """Run to the end; returns 0, or the exit status of the worker that failed last (128 + signal)."""
        for left in range(self.max_restarts, -1, -1):
            group = [self._start(rank, port) for port in [free_port()] for rank in range(self.workers)]
            code = _wait(group)
            if code == 0 or code in _USER_ERRORS or left == 0:
                return code
            sys.stderr.write(f"a worker ended with {code}; the group is started again, {left - 1} restarts left\n")
        return code

    def _start(self, rank: int, port: int) -> subprocess.Popen[bytes]:
        environment = _KEPT_MEMORY | dict(os.environ) | {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(self.workers), "LOCAL_WORLD_SIZE": str(self.workers),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": str(self.threads), "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        core = self.cores[rank % len(self.cores)] if self.cores else None
        process = subprocess.Popen(
            # under the leash a worker does not outlive this process, however it ends
            [sys.executable, "-S", str(_LEASH), str(os.getpid()), *self.command], env=environment, start_new_session=True,
            stdout=None if rank == 0 else subprocess.PIPE, stderr=None if rank == 0 else subprocess.STDOUT,
            preexec_fn=None if core is None else partial(os.sched_setaffinity, 0, {core}),
        )  # fmt: skip
        if rank:
            threading.Thread(target=_prefix, args=(process, rank), daemon=True).start()
        return process


def _wait(group: list[subprocess.Popen[bytes]]) -> int:
    try:
        while True:
            codes = [process.poll() for process in group]
            failed = next((code for code in codes if code not in {None, 0}), None)
            if failed is not None:
                return 128 - failed if failed < 0 else failed
            if all(code == 0 for code in codes):
                return 0
            time.sleep(0.05)
    finally:
        _end(group)


def _end(group: list[subprocess.Popen[bytes]]) -> None:
    for number, patience in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, 10.0)):
        for process in group:
            if process.poll() is None:
                os.killpg(process.pid, number)
        deadline = time.monotonic() + patience
        while any(process.poll() is None for process in group) and time.monotonic() < deadline:
            time.sleep(0.02)


def _prefix(process: subprocess.Popen[bytes], rank: int) -> None:
    if process.stdout is None:
        return
    with process.stdout as lines:
        for line in lines:
            sys.stdout.write(f"[{rank}] {line.decode('utf-8', 'replace')}")
            sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Read the arguments and launch."""
    parser = argparse.ArgumentParser(prog="launch", description="Start a group of workers that find each other.")
    parser.add_argument("--workers", type=int, required=True, help="processes to start")
    parser.add_argument("--max-restarts", type=int, default=3, help="times that a failed group is started again")
    parser.add_argument("--threads", type=int, default=1, help="threads of each worker")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --: the program of each worker")
    given = parser.parse_args(arguments)
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not 1 <= given.workers <= 64:
        parser.error("--workers: give 1 to 64")
    if given.max_restarts < 0 or given.threads < 1:
        parser.error("--max-restarts: give 0 or more; --threads: 1 or more")
    if not command:
        parser.error("give the program after --")
    if command[0] in {"python", "python3"}:
        command[0] = sys.executable
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return Launch(tuple(command), given.workers, given.max_restarts, given.threads).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
