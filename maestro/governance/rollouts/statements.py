"""The decider's word that a version may get traffic: written beside the version, where servers read it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from maestro.core.policy import RolloutPolicy
from maestro.core.statement import AdmissionPredicate
from maestro.governance.environment import ENVIRONMENT
from maestro.governance.rollouts.store import Rollout
from maestro.security.quarantine import read_manifest
from maestro.security.signing import PrivateKey
from maestro.security.statements import (
    AUTHORISATION_FILE,
    PROMOTION_FILE,
    promotion,
    rollout_authorisation,
    write_envelope,
)

GRACE = timedelta(hours=1)
"""How long an authorisation outlives the budget of its rollout."""


class Statements:
    """Signs admissions with the `decider` key. Repeating one replaces it by one that says the same."""

    def __init__(self, versions: Path, decider: PrivateKey) -> None:
        self._versions = versions
        self._decider = decider

    def authorise(self, rollout: Rollout, policy: RolloutPolicy, at: datetime) -> None:
        """That the challenger may be a rollout's candidate for as long as the budget lasts."""
        bake = policy.rungs[-1].bake or timedelta()
        expires = at + policy.budget.duration + bake + GRACE
        folder, predicate = self._predicate(rollout, rollout.state.gate, at, expires)
        manifest = read_manifest(folder, rollout.state.arms.challenger_digest)
        write_envelope(folder, AUTHORISATION_FILE, self._decider.sign(rollout_authorisation(manifest, predicate)))

    def promote(self, rollout: Rollout, decision: str, at: datetime) -> None:
        """That the challenger may get production traffic, from now on and whenever it is rolled back to."""
        folder, predicate = self._predicate(rollout, decision, at, None)
        manifest = read_manifest(folder, rollout.state.arms.challenger_digest)
        write_envelope(folder, PROMOTION_FILE, self._decider.sign(promotion(manifest, predicate)))

    def _predicate(
        self, rollout: Rollout, decision: str, at: datetime, expires: datetime | None
    ) -> tuple[Path, AdmissionPredicate]:
        return self._versions / rollout.model / rollout.challenger, AdmissionPredicate(
            decision=decision,
            environment=ENVIRONMENT,
            policy=rollout.policy_digest,
            approvals=rollout.state.approvals,
            issued=at,
            expires=expires,
        )
