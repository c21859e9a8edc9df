"""`make up` and `make down`: the supervisor in the background, and a first model."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from maestro.clients.home import Home
from maestro.core.errors import Conflict, Unreachable
from maestro.core.seams import Progress
from maestro.core.settings import settings
from maestro.core.state import State
from maestro.lifecycle import bootstrap
from maestro.lifecycle.processes import log_tail, wait_gone
from maestro.lifecycle.supervisor import Supervisor, stop_signals

_START_TIMEOUT_S = 200.0


def run_foreground(home: Home) -> None:
    """Prepare the home and supervise its services until SIGTERM or Ctrl-C."""
    bootstrap.prepare(home).close()
    with stop_signals() as stop, Supervisor(home, database_url=settings().database_url) as supervisor:
        supervisor.run(stop)


def start_background(home: Home, progress: Progress) -> State:
    """Start a supervisor of its own session and wait until its services are ready; nothing happens when they run.

    Raises:
        Unreachable: a service could not be started; its log's end is in the message.
    """
    if (state := home.read_state()) is not None:
        return state
    home.logs.mkdir(parents=True, exist_ok=True)
    log = home.logs / "supervisor.log"
    pid = _spawn_detached([sys.executable, "-m", "maestro", "up", "--foreground"], log)
    started = time.monotonic()
    while (elapsed := time.monotonic() - started) < _START_TIMEOUT_S:
        if (state := home.read_state()) is not None:
            return state
        if _has_ended(pid):
            raise Unreachable(
                f"the supervisor ended; the end of {log}:\n{log_tail(log)}",
                remedy=f"read {log}",
                component="supervisor",
            )
        progress.update(min(0.4, elapsed / 60), "starting services")
        time.sleep(0.2)
    os.kill(pid, signal.SIGTERM)
    raise Unreachable(
        f"the services were not ready within {_START_TIMEOUT_S:.0f} s", remedy=f"read {log}", component="supervisor"
    )


def stop_background(home: Home) -> bool:
    """End the supervisor of this home; returns whether one ran.

    Raises:
        Conflict: it did not end in time.
    """
    state = home.read_state()
    if state is None:
        home.state_file.unlink(missing_ok=True)
        return False
    os.kill(state.supervisor_pid, signal.SIGTERM)
    if not wait_gone(state.supervisor_pid, 40.0):
        raise Conflict(
            f"supervisor {state.supervisor_pid} did not end", remedy=f"end process {state.supervisor_pid} yourself"
        )
    return True


def first_model(home: Home, progress: Progress) -> dict[str, Any]:
    """Train, register, approve and promote the first model of a home, unless one is served already."""
    from maestro.lifecycle.demo.places.laptop import Laptop
    from maestro.lifecycle.demo.stage import Stage
    from maestro.lifecycle.demo.steps.first import put_first_model_into_production

    return put_first_model_into_production(Stage.of(Laptop(home), progress))


def _spawn_detached(argv: list[str], log: Any) -> int:
    """Start a process that outlives this one, its output in `log`; returns its id."""
    import subprocess

    with log.open("ab") as handle:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=handle, stderr=subprocess.STDOUT, start_new_session=True
        )
    pid = process.pid
    process.returncode = 0  # it is meant to outlive us: no warning when the object goes
    return pid


def _has_ended(pid: int) -> bool:
    try:
        done, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return False
    return done == pid
