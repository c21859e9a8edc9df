"""Runs a command in this process group and takes the whole group down when the process that started it is gone.

Started as a file, with nothing but the standard library: `python leash.py <pid of the starter> <command …>`. The kernel sends SIGUSR1 when the starter dies,
by whatever signal; exit status and accounting are the command's own. Linux only: elsewhere the starter's death is noticed by polling.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

TYPE_CHECKING = False  # typing itself would be a third of this program's start
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit status, or 128 + signal."""
    starter = int(arguments[0])
    signal.signal(signal.SIGUSR1, _end_group)
    # a request to stop goes to the whole group: the command decides how to obey, the leash waits for it
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(starter, signal.SIGUSR1)
    # not by subprocess: importing it costs more than all that this file does
    child = os.fork()
    if child == 0:
        _become(arguments[1:])
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 128 - code if code < 0 else code


def die_with(starter: int, number: signal.Signals) -> None:
    """Be sent `number` when the process `starter`, this one's parent, is gone; end at once if it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    else:
        import threading

        threading.Thread(target=_watch, args=(starter,), daemon=True).start()
    if os.getppid() != starter:
        os._exit(137)


def _become(command: list[str]) -> NoReturn:
    """Go on as the command."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def _end_group(number: int, frame: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)


def _watch(starter: int) -> None:
    import time

    while os.getppid() == starter:
        time.sleep(0.5)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
