"""Aliases are a record. One that a person moved changes no traffic; it is noticed and alerts."""

from __future__ import annotations

from sqlalchemy import select

from maestro.clients.database import Database
from maestro.clients.database.outbox import append_event
from maestro.clients.database.schema.core import outbox
from maestro.clients.database.schema.governance import model_versions, rollouts
from maestro.clients.registry import ModelRegistry
from maestro.core.clock import Clock
from maestro.core.model import Model
from maestro.core.seams import Alert, Notifier, TrafficTarget
from maestro.governance.production import production_node
from maestro.governance.rollouts.status import RUNNING
from maestro.governance.versions.stages import ALIASES
from maestro.governance.versions.store import Stage
from maestro.security.audit import AuditLog

KIND = "registry.alias_mismatch"


class AliasMismatch(Model):
    """An alias that names another version than the one with production traffic."""

    model: str
    alias: str
    registry_version: str
    alias_version: str | None
    served_version: str


class AliasWatch:
    """Compares MLflow's production aliases with the graph that is served."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        audit: AuditLog,
        registry: ModelRegistry,
        notifier: Notifier | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._audit = audit
        self._registry = registry
        self._notifier = notifier

    def check(self, model: str, target: TrafficTarget) -> list[AliasMismatch]:
        """The aliases of `model` that do not say what is served; each is told once, in the audit log, the events and an alert.

        While a rollout of the model runs nothing is judged: its alias moves last.
        """
        graph = target.read()
        node = production_node(graph) if graph is not None else None
        if node is None or self._rollout_runs(model):
            return []
        aliases = self._registry.aliases(model)
        with self._database.read() as connection:
            rows = connection.execute(
                select(model_versions.c.registry_version, model_versions.c.version).where(
                    model_versions.c.model == model
                )
            )
            versions = {str(row.registry_version): str(row.version) for row in rows}
        found = [
            AliasMismatch(
                model=model,
                alias=alias,
                registry_version=aliases[alias],
                alias_version=versions.get(aliases[alias]),
                served_version=node.version,
            )
            for alias in ALIASES[Stage.PRODUCTION]
            if alias in aliases and versions.get(aliases[alias]) != node.version
        ]
        for mismatch in found:
            self._tell(mismatch)
        return found

    def _rollout_runs(self, model: str) -> bool:
        with self._database.read() as connection:
            return (
                connection.execute(
                    select(rollouts.c.id).where(rollouts.c.model == model, rollouts.c.status.in_(RUNNING)).limit(1)
                ).first()
                is not None
            )

    def _tell(self, mismatch: AliasMismatch) -> None:
        subject, data = f"model/{mismatch.model}", mismatch.document()
        with self._database.begin() as connection:
            last = connection.execute(
                select(outbox.c.data)
                .where(outbox.c.kind == KIND, outbox.c.subject == subject)
                .order_by(outbox.c.seq.desc())
                .limit(10)
            ).scalars()
            if data in [dict(item) for item in last]:
                return
            self._audit.append(connection, actor="system:alias-watch", action=KIND, subject=subject, data=data)
            append_event(
                connection, kind=KIND, subject=subject, actor="system:alias-watch", data=data, at=self._clock.now()
            )
        if self._notifier is not None:
            self._notifier.notify(
                Alert(
                    title=f"{mismatch.model}: alias {mismatch.alias} was moved by hand",
                    body=(
                        f"It names version {mismatch.alias_version or 'unknown'} (registry {mismatch.registry_version}), "
                        f"traffic goes to {mismatch.served_version}. Traffic did not change."
                    ),
                    severity="warning",
                    source="alias-watch",
                )
            )
