"""What is known of a version: gathered afresh each time, so that nothing that changed meanwhile passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from maestro.core.clock import Clock
from maestro.core.errors import MaestroError, NotFound
from maestro.core.graph import ModelNode
from maestro.core.model import Model
from maestro.core.policy import RolloutPolicy
from maestro.core.seams import TrafficTarget
from maestro.core.statement import TrustPolicy
from maestro.decisions.gates import ApprovalFact, Bound, GateFacts
from maestro.governance.production import production_node
from maestro.governance.versions.folder import read_contract
from maestro.governance.versions.store import ModelVersion, VersionStore
from maestro.security.artifact import measure
from maestro.security.quarantine import read_manifest
from maestro.security.signing import verify
from maestro.security.statements import PROVENANCE_FILE, read_envelope
from maestro.security.trust import load_trust


class LineageLinks(Protocol):
    """What the evidence asks of lineage.

    Obligations: read-only but for recording what is recordable now; never raises for a link that is missing.
    """

    def missing(self, version: ModelVersion) -> tuple[str, ...]:
        """The links data → features → run → version that are not recorded."""
        ...


class Gathered(Model):
    """The facts about a version that do not depend on its policy or champion, and those that gates compare."""

    version_digest: str
    contract_digest: str
    contract_valid: bool
    signature_verified: bool
    signature_reason: str
    lineage_missing: tuple[str, ...]
    metrics: dict[str, float]
    champion: str | None = None
    champion_metrics: dict[str, float] = {}
    involved: dict[str, str]

    def stable(self) -> dict[str, Any]:
        """What an approval is bound to as evidence: changes only when the version itself or what is known of its training does."""
        return {
            "version": self.version_digest,
            "contract": self.contract_digest,
            "metrics": self.metrics,
            "involved": self.involved,
        }


class EvidenceGatherer:
    """Reads files, statements, lineage and metrics of versions."""

    def __init__(
        self,
        store: VersionStore,
        clock: Clock,
        versions: Path,
        trust: Path,
        lineage: LineageLinks,
        targets: Callable[[str], TrafficTarget],
    ) -> None:
        self._store = store
        self._clock = clock
        self._versions = versions
        self._trust = trust
        self._lineage = lineage
        self._targets = targets

    def gather(self, version: ModelVersion, submitted_by: str) -> Gathered:
        """What is known now.

        Args:
            version: the candidate.
            submitted_by: who asks for its approval.
        """
        version = self._store.get(version.model, version.version)  # as it stands now, not as the caller read it
        folder = self._versions / version.model / version.version
        digest = _or_zero(lambda: read_manifest(folder).content_digest())
        contract = _or_zero(lambda: read_contract(folder).content_digest())
        signature = self._signature_problem(version, folder)
        champion = self.champion(version.model)
        known = self._known(version.model, champion)
        return Gathered(
            version_digest=digest,
            contract_digest=contract,
            contract_valid=contract == version.contract_digest,
            signature_verified=signature is None,
            signature_reason=signature or "provenance verified, every file has its digest",
            lineage_missing=self._lineage.missing(version),
            metrics=_finite(version.metrics),
            champion=champion.version if champion is not None else None,
            champion_metrics=_finite(known.metrics) if known is not None else {},
            involved={
                "submitted": principal_name(submitted_by),
                "trained": principal_name(version.submitted_by),
                "registered": principal_name(version.registered_by),
            },
        )

    def champion(self, model: str) -> ModelNode | None:
        """The version that has production traffic, by the graph."""
        graph = self._targets(model).read()
        return None if graph is None else production_node(graph)

    def facts(
        self,
        gathered: Gathered,
        policy: RolloutPolicy,
        *,
        policy_digest: str,
        evidence_digest: str,
        approvals: tuple[ApprovalFact, ...] = (),
    ) -> GateFacts:
        """As the gates take them."""
        metric = policy.gates.offline.metric if policy.gates.offline is not None else None
        return GateFacts(
            bound=Bound(
                version=gathered.version_digest,
                contract=gathered.contract_digest,
                policy=policy_digest,
                evidence=evidence_digest,
            ),
            contract_valid=gathered.contract_valid,
            signature_verified=gathered.signature_verified,
            lineage_missing=gathered.lineage_missing,
            champion_metric=gathered.champion_metrics.get(metric) if metric else None,
            candidate_metric=gathered.metrics.get(metric) if metric else None,
            has_champion=gathered.champion is not None,
            involved=gathered.involved,
            approvals=approvals,
        )

    def _signature_problem(self, version: ModelVersion, folder: Path) -> str | None:
        """Why the provenance or the files do not hold; None when they do."""
        try:
            trust: TrustPolicy = load_trust(self._trust)
            manifest = read_manifest(folder, version.digest)
            statement = verify(read_envelope(folder, PROVENANCE_FILE), trust, "builder", self._clock.now())
            named = statement.subject[0].digest["sha256"]
            if f"sha256:{named}" != version.digest:
                return "the provenance is about other bytes"
            found = measure(folder, model=manifest.model, version=manifest.version, run_id=manifest.run_id)
            if found.content_digest() != version.digest:
                return "a file is missing, extra or changed"
        except MaestroError as error:
            return error.detail
        return None

    def _known(self, model: str, node: ModelNode | None) -> ModelVersion | None:
        if node is None:
            return None
        try:
            return self._store.get(model, node.version)
        except NotFound:
            return None


def principal_name(actor: str) -> str:
    """The principal of an actor: `human:ada` is `ada`, with whichever key."""
    return actor.partition(":")[2] or actor


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _or_zero(read: Callable[[], str]) -> str:
    """A digest, or that of nothing where the file cannot be read."""
    try:
        return read()
    except MaestroError:
        return "sha256:" + "0" * 64
