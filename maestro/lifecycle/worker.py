"""The worker process: runs training attempts and, with the `builder` key, registers what they publish."""

from __future__ import annotations

import threading

from maestro import __version__
from maestro.core.events import Event
from maestro.core.settings import Settings, settings
from maestro.governance.versions.registrar import Registrar, Registration
from maestro.lifecycle.composition import Platform
from maestro.lifecycle.subscriptions import Handler, Subscriptions
from maestro.lifecycle.supervisor import stop_signals
from maestro.observability.metrics import MetricSet
from maestro.observability.metrics_port import metrics_port
from maestro.observability.trace_exporting import trace_exporting


def run_worker(options: Settings | None = None, *, metrics: int | None = None, host: str = "127.0.0.1") -> None:
    """Work until SIGTERM or Ctrl-C.

    Args:
        options: the settings.
        metrics: the port for `/metrics`; None opens none.
        host: the address that it listens on.

    Raises:
        Unreachable: the database is gone or of another revision.
        NotFound: the home has no `builder` key.
    """
    platform = Platform(options or settings())
    platform.require_database()
    handlers = {"job.completed": [registration(platform.governance.registrar)]}
    subscriptions = Subscriptions(platform.database, platform.clock, handlers)
    own = MetricSet()
    with trace_exporting("maestro-worker", __version__), metrics_port(own, metrics, host), stop_signals() as stop:
        delivering = threading.Thread(target=subscriptions.run, args=(stop,), name="subscriptions", daemon=True)
        delivering.start()
        cleaning = threading.Thread(
            target=platform.training.retention().run, args=(stop,), name="retention", daemon=True
        )
        cleaning.start()
        platform.training.worker().run(stop)
        delivering.join(10.0)
        cleaning.join(10.0)
    platform.close()


def registration(registrar: Registrar) -> Handler:
    """A handler that makes a version of each completed job that asked for one; idempotent by run."""

    def register(event: Event) -> None:
        wanted = Registration.of_job(event.data)
        if wanted is not None:
            registrar.register(wanted)

    return register
