"""The composition root: which implementation stands behind each seam, built when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property

from maestro.clients.database import Database, open_database
from maestro.clients.database.migrate import require_current
from maestro.clients.home import Home, database_url
from maestro.core.clock import Clock, SystemClock
from maestro.core.settings import Settings, settings
from maestro.security.audit import AuditLog
from maestro.security.principals import PrincipalStore
from maestro.security.signing import PrivateKey


class Platform:
    """Everything that a door of the control plane needs. One instance a process; thread-safe after construction.

    Args:
        options: the settings of this process.
        clock: the clock of every decision.
    """

    def __init__(self, options: Settings | None = None, clock: Clock | None = None) -> None:
        self.settings = options or settings()
        self.clock: Clock = clock or SystemClock()
        self.home = Home.of(self.settings)
        self.tasks: list[Callable[[], Iterator[None]]] = []

    @cached_property
    def database(self) -> Database:
        """The platform database."""
        return open_database(database_url(self.settings), self.settings.database)

    def require_database(self) -> None:
        """Refuse to work on a database that is gone or of another revision."""
        require_current(self.database)

    @cached_property
    def decider(self) -> PrivateKey:
        """The control plane's signing key."""
        return PrivateKey.load(self.home.keys / "decider.pem")

    @cached_property
    def audit(self) -> AuditLog:
        """The audit log, its heads signed by the decider."""
        return AuditLog(self.database, self.clock, self.decider, self.home.audit_heads)

    @cached_property
    def principals(self) -> PrincipalStore:
        """Who may call, and their keys."""
        return PrincipalStore(self.database, self.clock)

    @contextmanager
    def background(self) -> Iterator[None]:
        """Run the background work of the control plane for as long as the block lasts."""
        with ExitStack() as stack:
            for task in self.tasks:
                stack.enter_context(contextmanager(task)())
            yield

    def close(self) -> None:
        """Close what was opened."""
        if "database" in self.__dict__:
            self.database.dispose()
