"""A real worker process for the worker's tests: `worker_program.py <database url> <folder> <name>`."""

import signal
import sys
import threading
from pathlib import Path

from maestro.clients.database import open_database
from maestro.core.clock import SystemClock
from maestro.core.settings import TrainingSettings
from maestro.security.audit import AuditLog
from maestro.training.backends import LocalBackend
from maestro.training.leases import Leases
from maestro.training.store import JobStore
from maestro.training.worker import Worker

OPTIONS = TrainingSettings(lease_s=2.0, heartbeat_s=0.4, poll_s=0.1, slots=2)


def main() -> None:
    url, folder, name = sys.argv[1:]
    database, clock = open_database(url), SystemClock()
    store = JobStore(database, clock, AuditLog(database, clock, None, None))
    program = str(Path(__file__).with_name("child_program.py"))
    worker = Worker(
        Leases(store, OPTIONS), {"local": LocalBackend((sys.executable, program))}, Path(folder), OPTIONS, name=name
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    worker.run(stop)


if __name__ == "__main__":
    main()
