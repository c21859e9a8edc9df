"""The worker process: runs training attempts and, with the `builder` key, registers what they publish."""

from __future__ import annotations

import threading

from maestro.core.events import Event
from maestro.core.settings import Settings, settings
from maestro.governance.versions.registrar import Registrar, Registration
from maestro.lifecycle.composition import Platform
from maestro.lifecycle.subscriptions import Handler, Subscriptions
from maestro.lifecycle.supervisor import stop_signals


def run_worker(options: Settings | None = None) -> None:
    """Work until SIGTERM or Ctrl-C.

    Raises:
        Unreachable: the database is gone or of another revision.
        NotFound: the home has no `builder` key.
    """
    platform = Platform(options or settings())
    platform.require_database()
    handlers = {"job.completed": [registration(platform.governance.registrar)]}
    subscriptions = Subscriptions(platform.database, platform.clock, handlers)
    with stop_signals() as stop:
        delivering = threading.Thread(target=subscriptions.run, args=(stop,), name="subscriptions", daemon=True)
        delivering.start()
        platform.training.worker().run(stop)
        delivering.join(10.0)
    platform.close()


def registration(registrar: Registrar) -> Handler:
    """A handler that makes a version of each completed job that asked for one; idempotent by run."""

    def register(event: Event) -> None:
        wanted = Registration.of_job(event.data)
        if wanted is not None:
            registrar.register(wanted)

    return register
