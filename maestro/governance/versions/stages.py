"""The workflow Development → Staging → Production, kept as a record: in the row and in MLflow's aliases. It moves no traffic."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from maestro.clients.database.outbox import append_event
from maestro.clients.registry import ModelRegistry
from maestro.core.clock import Clock
from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, Conflict, Untrusted
from maestro.core.model import Model, Time
from maestro.core.statement import TrustPolicy
from maestro.core.versions import parse_version
from maestro.governance.environment import ENVIRONMENT
from maestro.governance.versions.folder import VersionFolders
from maestro.governance.versions.store import ModelVersion, Stage, VersionStore
from maestro.security.audit import AuditLog
from maestro.security.statements import Admission, check_admission
from maestro.security.trust import load_trust

log = logging.getLogger(__name__)

ALIASES: dict[Stage, tuple[str, ...]] = {Stage.STAGING: ("staging",), Stage.PRODUCTION: ("production", "champion")}
"""The aliases that record a stage; `champion` is kept equal to `production`."""

STAGE_TAG = "maestro.stage"


class Promoted(Model):
    """A version that holds a valid promotion statement: what traffic may be rolled back to at once."""

    model: str
    version: str
    digest: str
    promoted: Time
    decision: str


class Comparison(Model):
    """Two versions side by side: `b` against `a`."""

    a: str
    b: str
    metrics: dict[str, tuple[float | None, float | None]]
    contract_breaks: bool
    features_added: tuple[str, ...]
    features_removed: tuple[str, ...]
    files_changed: tuple[str, ...]
    cost_usd_micros: tuple[int, int]


class Stages:
    """Moves versions between stages and says where they stand."""

    def __init__(
        self, store: VersionStore, clock: Clock, audit: AuditLog, registry: ModelRegistry, versions: Path, trust: Path
    ) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit
        self._registry = registry
        self._versions = versions
        self._trust = trust

    def promote(self, version: ModelVersion, to: Stage, *, actor: str) -> ModelVersion:
        """Record that a version stands in `to`; the aliases are moved last.

        Raises:
            Conflict: the step is none of the workflow, or production without a promotion statement.
            Unreachable: MLflow does not answer; the row is moved, and `sync_aliases` moves the alias later.
        """
        if to is Stage.PRODUCTION:
            self._require_promotion(version)
        elif to is Stage.STAGING:
            if version.stage is Stage.PRODUCTION:
                raise Conflict(f"{version.key} is in production", field="to", remedy="roll out another version instead")
        else:
            raise BadInput(
                f"a version is not promoted to {to.value}", field="to", remedy="choose staging or production"
            )
        with self._store.database.begin() as connection:
            self.record(connection, version, to, actor=actor)
        self.set_aliases(version, to)
        return self._store.get(version.model, version.version)

    def record(self, connection: Connection, version: ModelVersion, to: Stage, *, actor: str) -> None:
        """The row, audit entry and event of a move, in the caller's transaction. Repeating it changes nothing."""
        self._store.set_stage(connection, version.model, version.version, to)
        now = self._clock.now()
        data: dict[str, Any] = {"from": version.stage.value, "to": to.value, "digest": version.digest}
        self._audit.append(
            connection, actor=actor, action="version.promoted", subject=f"model/{version.key}", data=data
        )
        append_event(
            connection, kind="version.promoted", subject=f"model/{version.key}", actor=actor, data=data, at=now
        )

    def set_aliases(self, version: ModelVersion, stage: Stage) -> None:
        """Point the registry's aliases of `stage` at a version."""
        if version.registry_version is None:
            return
        for alias in ALIASES.get(stage, ()):
            self._registry.set_alias(version.model, alias, version.registry_version)
        self._registry.set_tag(version.model, version.registry_version, STAGE_TAG, stage.value)

    def rollback_list(self, model: str) -> list[Promoted]:
        """The versions that hold a valid promotion, the latest promoted first. Needs neither database nor registry."""
        return rollback_list(self._versions, model, load_trust(self._trust), self._clock.now())

    def compare(self, a: ModelVersion, b: ModelVersion) -> Comparison:
        """Two versions side by side."""
        names = sorted(a.metrics.keys() | b.metrics.keys())
        files_a = {entry.path: entry.digest for entry in a.manifest.files}
        files_b = {entry.path: entry.digest for entry in b.manifest.files}
        return Comparison(
            a=a.version,
            b=b.version,
            metrics={name: (a.metrics.get(name), b.metrics.get(name)) for name in names},
            contract_breaks=a.contract.breaks(b.contract),
            features_added=_only_in(b.contract, a.contract),
            features_removed=_only_in(a.contract, b.contract),
            files_changed=tuple(
                path for path in sorted(files_a.keys() | files_b.keys()) if files_a.get(path) != files_b.get(path)
            ),
            cost_usd_micros=(a.cost_usd_micros, b.cost_usd_micros),
        )

    def _require_promotion(self, version: ModelVersion) -> None:
        try:
            admit(
                self._versions,
                version.model,
                version.version,
                load_trust(self._trust),
                self._clock.now(),
                version.digest,
            )
        except Untrusted as error:
            raise Conflict(
                f"{version.key} holds no promotion: {error.detail}",
                field="to",
                remedy="a version is promoted by its rollout: maestro deploy start",
            ) from error


def rollback_list(versions: Path, model: str, trust: TrustPolicy, at: datetime) -> list[Promoted]:
    """See `Stages.rollback_list`."""
    found = []
    for version, manifest in VersionFolders(versions, model).claimed():
        try:
            admission = admit(versions, model, version, trust, at)
        except Untrusted as error:
            log.debug("%s@%s: %s", model, version, error.detail)
            continue
        found.append(
            Promoted(
                model=model,
                version=version,
                digest=manifest.content_digest(),
                promoted=admission.predicate.issued,
                decision=admission.predicate.decision,
            )
        )
    return sorted(found, key=lambda item: (item.promoted, parse_version(item.version)), reverse=True)


def admit(
    versions: Path, model: str, version: str, trust: TrustPolicy, at: datetime, digest: str | None = None
) -> Admission:
    """The promotion by which a version may get production traffic.

    Raises:
        Untrusted: there is none that counts.
    """
    return check_admission(
        versions / model / version, trust, purpose="production", environment=ENVIRONMENT, at=at, expected_digest=digest
    )


def _only_in(one: ModelContract, other: ModelContract) -> tuple[str, ...]:
    return tuple(name for name in one.names if name not in set(other.names))
