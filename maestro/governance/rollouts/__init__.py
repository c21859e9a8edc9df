"""Rollouts: how a version that passed its gates earns its traffic, or loses it."""

from maestro.governance.rollouts.controller import RolloutController
from maestro.governance.rollouts.rollback import instant_rollback
from maestro.governance.rollouts.runner import RolloutRunner
from maestro.governance.rollouts.status import RolloutStatus, Step
from maestro.governance.rollouts.store import Rollout, RolloutStore

__all__ = ["Rollout", "RolloutController", "RolloutRunner", "RolloutStatus", "RolloutStore", "Step", "instant_rollback"]
