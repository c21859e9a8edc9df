"""Processes by a name that outlives them: is the one that took something on still there?"""

from __future__ import annotations

import os
import socket


def owner() -> str:
    """Who runs something: host and process, with the process's start, so that a reused number is not taken for it."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def _started(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_alive(text: str) -> bool:
    """Whether the process that `owner` named still runs; one of another machine is taken to."""
    host, _, rest = text.partition(":")
    pid, _, started = rest.partition(":")
    if host != socket.gethostname():
        # another machine's trial cannot be judged from here
        return bool(host)
    return pid.isdigit() and bool(_started(int(pid))) and _started(int(pid)) == started
