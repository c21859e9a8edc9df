"""Groups of two that boost: one left alone, one of which rank 1 is killed after its first checkpoint and which is then begun again. The argument is a folder.

The libraries are imported once and the workers are forked, which a test can afford.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import xgboost

from maestro.training.distribution import Group
from maestro.training.distribution.rendezvous import free_port
from tests.training.distribution.boosting_program import work


def run(folder: Path, *, die: bool) -> list[int]:
    """Fork two workers; once one has failed the other is killed. Returns their wait statuses."""
    port = free_port()
    pids = []
    for rank in range(2):
        pid = os.fork()
        if not pid:
            try:
                work("xgboost", folder, Group(rank, 2, "127.0.0.1", port), die=die)
                os._exit(0)
            finally:
                os._exit(1)
        pids.append(pid)
    statuses = []
    for _ in pids:
        pid, status = os.wait()
        statuses.append(status)
        if status:
            for other in pids:
                if other != pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(other, signal.SIGKILL)
    return statuses


if __name__ == "__main__":
    place = Path(sys.argv[1])
    xgboost.set_config(verbosity=1)
    ends = [run(place / "whole", die=False), run(place / "killed", die=True), run(place / "killed", die=False)]
    print([any(group) for group in ends])
