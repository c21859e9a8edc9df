"""Runs a command in this process group and takes the whole group down when the process that started it is gone.

Started as a file, with nothing but the standard library: `python leash.py <pid of the starter> <command …>`. The kernel sends SIGUSR1 when the starter dies,
by whatever signal; exit status and accounting are the command's own. Linux only: elsewhere the starter's death is noticed by polling.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit status, or 128 + signal."""
    starter = int(arguments[0])
    signal.signal(signal.SIGUSR1, _end_group)
    # a request to stop goes to the whole group: the command decides how to obey, the leash waits for it
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(starter, signal.SIGUSR1)
    child = subprocess.Popen(arguments[1:], restore_signals=True, preexec_fn=_restore)
    code = child.wait()
    return 128 - code if code < 0 else code


def die_with(starter: int, number: signal.Signals) -> None:
    """Be sent `number` when the process `starter`, this one's parent, is gone; end at once if it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(starter,), daemon=True).start()
    if os.getppid() != starter:
        os._exit(137)


def _restore() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)


def _end_group(number: int, frame: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)


def _watch(starter: int) -> None:
    while os.getppid() == starter:
        time.sleep(0.5)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
