"""One supervisor for the laptop's services: starts, checks, restarts and ends them, and writes `state.json`.

Law: nothing it started outlives it, whichever way it ends.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

import httpx

from maestro.clients.home import Home
from maestro.core.clock import Clock, SystemClock
from maestro.core.errors import Conflict, Unreachable
from maestro.core.seams import NoProgress, Progress
from maestro.core.state import ServiceState, State
from maestro.lifecycle.processes import log_tail, start, stop
from maestro.lifecycle.services import Service, laptop_services, service_environment

_RESTARTS = 5
"""A service that ends more often than this within a minute is left down."""


class Supervisor:
    """Runs the services of one home. Use as a context manager; the block starts when all are ready.

    Raises:
        Conflict: another supervisor has this home.
        Unreachable: a service ended or was not ready in time; its log's end is in the message.
    """

    def __init__(
        self,
        home: Home,
        services: list[Service] | None = None,
        *,
        database_url: str | None = None,
        clock: Clock | None = None,
        progress: Progress | None = None,
        ready_timeout_s: float = 180.0,
    ) -> None:
        self.home = home
        self._database_url = database_url or f"sqlite:///{home.database}"
        self.services = laptop_services(home) if services is None else services
        self._clock = clock or SystemClock()
        self._progress: Progress = progress or NoProgress()
        self._ready_timeout_s = ready_timeout_s
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: dict[str, list[float]] = {}
        self._lock: IO[str] | None = None

    def __enter__(self) -> Supervisor:
        self._take_home()
        try:
            self._start_all()
        except BaseException:
            self._end_all()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end_all()

    def url(self, name: str) -> str:
        """The address of a service."""
        return next(service.url for service in self.services if service.name == name and service.url is not None)

    def pid(self, name: str) -> int:
        """The process id of a service."""
        return self._processes[name].pid

    def watch_once(self) -> list[str]:
        """Restart what ended; returns the names of the services that were restarted."""
        restarted = []
        for service in self.services:
            process = self._processes.get(service.name)
            if process is None or process.poll() is None:
                continue
            stop(process)  # what the dead one started may hold its port
            now = time.monotonic()
            recent = [at for at in self._ended.get(service.name, []) if now - at < 60]
            self._ended[service.name] = [*recent, now]
            if len(recent) >= _RESTARTS:
                del self._processes[service.name]
                continue
            self._launch(service)
            restarted.append(service.name)
        if restarted:
            self._write_state()
        return restarted

    def run(self, stop_event: threading.Event) -> None:
        """Watch until told to stop."""
        while not stop_event.wait(0.5):
            self.watch_once()

    def _take_home(self) -> None:
        self.home.root.mkdir(parents=True, exist_ok=True)
        handle = (self.home.root / "supervisor.lock").open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            raise Conflict(
                f"another supervisor runs in {self.home.root}",
                remedy="run `make down`, or set MAESTRO_HOME to another folder",
            ) from None
        self._lock = handle

    def _start_all(self) -> None:
        for service in self.services:
            if not service.needs:
                self._launch(service)
        waiting = [service for service in self.services if service.ready]
        deadline = time.monotonic() + self._ready_timeout_s
        for done, service in enumerate(waiting):
            self._progress.update(done / len(self.services), f"waiting for {service.name}")
            self._wait_ready(service, deadline)
        for service in self.services:
            if service.needs:
                self._launch(service)
        self._write_state()
        self._progress.update(1.0, "services are ready")

    def _launch(self, service: Service) -> None:
        env = service_environment(self.home, self.services, self._database_url) | service.env
        self._processes[service.name] = start(service.argv, log=self._log(service.name), env=env)

    def _wait_ready(self, service: Service, deadline: float) -> None:
        answer = "it did not answer"
        while time.monotonic() < deadline:
            process = self._processes[service.name]
            if process.poll() is not None:
                raise self._not_ready(service, f"ended with status {process.returncode}")
            try:
                response = httpx.get(f"{service.url}{service.ready}", timeout=2.0)
                if response.status_code == 200:
                    return
                answer = f"it answered {response.status_code} {response.text[:500]}"
            except httpx.HTTPError as error:
                answer = f"it did not answer ({type(error).__name__})"
            time.sleep(0.1)
        raise self._not_ready(service, f"was not ready within {self._ready_timeout_s:.0f} s: {answer}")

    def _not_ready(self, service: Service, reason: str) -> Unreachable:
        log = self._log(service.name)
        return Unreachable(
            f"the {service.name} service {reason}; the end of {log}:\n{log_tail(log)}",
            remedy=f"read {log}",
            component=service.name,
        )

    def _log(self, name: str) -> Path:
        return self.home.logs / f"{name}.log"

    def _write_state(self) -> None:
        services = {
            service.name: ServiceState(
                url=service.url, pid=self._processes[service.name].pid, log=f"logs/{service.name}.log"
            )
            for service in self.services
            if service.name in self._processes
        }
        self.home.write_state(
            State(
                started=self._clock.now(),
                supervisor_pid=os.getpid(),
                database=self._database_url,
                services=services,
            )
        )

    def _end_all(self) -> None:
        # in reverse: the worker first, so that it can give its leases back while the others still answer
        for service in reversed(self.services):
            if (process := self._processes.pop(service.name, None)) is not None:
                stop(process)
        self.home.state_file.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM or SIGINT sets while the block lasts."""
    event = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        event.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
