"""A worker process of the load test: `load_worker.py <database url> <folder> <name>`. Real claims, leases and processes; the training is a shell script that ends at once."""

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

OPTIONS = TrainingSettings(
    lease_s=3.0, heartbeat_s=0.5, poll_s=0.05, slots=4, max_running=16, max_running_per_tenant=16, max_lost=1000
)


def main() -> None:
    url, folder, name = sys.argv[1:]
    database, clock = open_database(url), SystemClock()
    store = JobStore(database, clock, AuditLog(database, clock, None, None))
    script = str(Path(__file__).parents[1] / "training" / "instant_child.sh")
    backend = LocalBackend(("/bin/sh", script))
    worker = Worker(Leases(store, OPTIONS), {"local": backend}, Path(folder) / name, OPTIONS, name=name)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    worker.run(stop)


if __name__ == "__main__":
    main()
