"""The composition root: which implementation stands behind each seam, built when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from threading import Event, Thread
from typing import TYPE_CHECKING

from maestro.clients.database import Database, open_database
from maestro.clients.database.migrate import require_current
from maestro.clients.home import Home, database_url, service_url
from maestro.core.clock import Clock, SystemClock
from maestro.core.errors import Unreachable
from maestro.core.settings import Settings, settings
from maestro.lifecycle.subscriptions import Subscriptions
from maestro.lifecycle.traffic import traffic
from maestro.security.audit import AuditLog
from maestro.security.principals import PrincipalStore
from maestro.security.signing import PrivateKey

if TYPE_CHECKING:
    from maestro.governance.control import Governance
    from maestro.observability.metrics import MetricSet
    from maestro.training.control import Training


SLO_INTERVAL_S = 5.0
"""Seconds between two looks at the model server's counters."""


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
        self.tasks: list[Callable[[], Iterator[None]]] = [self._govern, self._observe]

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
        """The audit log. Where the decider's key is, heads are signed; a worker elsewhere appends, and the control plane signs for it."""
        decider = self.decider if (self.home.keys / "decider.pem").exists() else None
        return AuditLog(self.database, self.clock, decider, self.home.audit_heads)

    @cached_property
    def principals(self) -> PrincipalStore:
        """Who may call, and their keys."""
        return PrincipalStore(self.database, self.clock, audit=self.audit, verifiers=self.home.server_keys)

    @cached_property
    def metrics(self) -> MetricSet:
        """What this process exports: its own series, and what the platform database tells when it is asked."""
        from maestro.observability.metrics import MetricSet
        from maestro.observability.readings import Readings
        from maestro.operations.exporter import PlatformReadings

        found = MetricSet()
        found.read_when_asked(Readings(PlatformReadings(self.database, self.clock)))
        return found

    @cached_property
    def governance(self) -> Governance:
        """Versions, approvals, decisions, rollouts, lineage."""
        from maestro.clients.registry import ModelRegistry
        from maestro.governance.control import Governance
        from maestro.governance.rollouts.runner import Watch
        from maestro.observability.notifier import create_notifier
        from maestro.serving.sources import metric_source

        token = self._service_token()
        server = self._address("server")
        moved = traffic(self.settings, self.home, self.clock, server=server, token=token)
        source = moved.evidence(
            metric_source(
                self.settings.metric_source,
                server_url=server,
                token=token,
                prometheus_url=self.settings.prometheus_url,
                matchers=self.settings.prometheus_matchers,
                clock=self.clock,
            )
        )
        governance = Governance(
            home=self.home,
            trust=self.settings.trust_policy,
            database=self.database,
            clock=self.clock,
            audit=self.audit,
            registry=ModelRegistry(self._address("mlflow")),
            targets=moved.target,
            sources=lambda _: source,
            endpoint=server,
            notifier=create_notifier(self.settings.notify),
            models=moved.models,
            watches=() if moved.converge is None else (Watch("convergence", 1.0, moved.converge),),
        )
        from maestro.monitoring.drift.evidence import KIND as DRIFT
        from maestro.monitoring.drift.evidence import replay_drift
        from maestro.operations.sla_monitor import KIND as SLO
        from maestro.operations.sla_monitor import replay_slo

        governance.replayers.register(DRIFT, lambda record, _: replay_drift(record, self.home.root / "drift"))
        governance.replayers.register(SLO, lambda record, _: replay_slo(record))
        return governance

    @cached_property
    def training(self) -> Training:
        """Jobs, studies, experiments and features."""
        from maestro.training.control import Training

        return Training(
            self.home, self.database, self.clock, self.audit, self.settings.training, self._address("mlflow")
        )

    def _address(self, service: str) -> str:
        """Where a service is, or an address that nobody answers at: what does not need the service works without it."""
        try:
            return service_url(service, options=self.settings)
        except Unreachable:
            return "http://127.0.0.1:9"

    def _service_token(self) -> str:
        """The key by which the control plane asks the model server."""
        path = self.home.keys / "service.token"
        return path.read_text().strip() if path.exists() else ""

    def _govern(self) -> Iterator[None]:
        """Lead rollouts, watch graphs and aliases, record lineage; only where the decider's key is."""
        if not (self.home.keys / "decider.pem").exists():
            yield
            return
        stop = Event()
        governance = self.governance
        handlers = {kind: [governance.lineage.on_event] for kind in ("version.registered", "rollout.finished")}
        lineage = Subscriptions(self.database, self.clock, handlers)
        thread = Thread(target=lineage.run, args=(stop,), name="lineage", daemon=True)
        thread.start()
        try:
            with governance.runner.running():
                yield
        finally:
            stop.set()
            thread.join(timeout=20)

    def _observe(self) -> Iterator[None]:
        """Record the model server's counters for the SLA report."""
        from maestro.operations.rollups import recording
        from maestro.operations.sla_monitor import running_recorder
        from maestro.operations.slo import load_slos

        slos = load_slos(self.settings.slo_file)
        yield from recording(lambda: running_recorder(self.database, slos, self.clock, self.settings), SLO_INTERVAL_S)

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
