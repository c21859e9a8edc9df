"""The worker process: runs training attempts and, with the `builder` key, registers what they publish."""

from __future__ import annotations

import threading

from maestro.clients.home import service_url
from maestro.clients.registry import ModelRegistry
from maestro.core.events import Event
from maestro.core.settings import Settings, settings
from maestro.governance.versions.registrar import Registrar, Registration
from maestro.governance.versions.store import VersionStore
from maestro.lifecycle.composition import Platform
from maestro.lifecycle.subscriptions import Subscriptions
from maestro.lifecycle.supervisor import stop_signals
from maestro.security.signing import PrivateKey
from maestro.training.backends import backend
from maestro.training.leases import Leases
from maestro.training.store import JobStore
from maestro.training.worker import Worker

BACKENDS = ("local",)
"""What this process can run."""


def run_worker(options: Settings | None = None) -> None:
    """Work until SIGTERM or Ctrl-C."""
    options = options or settings()
    platform = Platform(options)
    platform.require_database()
    mlflow = service_url("mlflow", options=options)
    store = JobStore(platform.database, platform.clock, platform.audit)
    worker = Worker(
        Leases(store, options.training),
        {name: backend(name) for name in BACKENDS},
        platform.home.root / "attempts",
        options.training,
        environment={"MLFLOW_TRACKING_URI": mlflow, "MAESTRO_HOME": str(platform.home.root)},
    )
    subscriptions = subscribe(platform, ModelRegistry(mlflow))
    with stop_signals() as stop:
        delivering = threading.Thread(target=subscriptions.run, args=(stop,), name="subscriptions", daemon=True)
        delivering.start()
        worker.run(stop)
        delivering.join(10.0)


def subscribe(platform: Platform, registry: ModelRegistry) -> Subscriptions:
    """Who acts on what: a completed job becomes a version, a lineage record and a cost entry."""
    registrar = Registrar(
        VersionStore(platform.database),
        platform.clock,
        platform.audit,
        registry,
        PrivateKey.load(platform.home.keys / "builder.pem"),
        platform.home.versions,
    )

    def register(event: Event) -> None:
        registration = Registration.of_job(event.data)
        if registration is not None:
            registrar.register(registration)

    return Subscriptions(platform.database, platform.clock, {"job.completed": [register]})
