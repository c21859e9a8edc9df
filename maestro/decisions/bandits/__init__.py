"""Bandit policies: one a file, pure, acting on immutable snapshots; `create_policy` gives them by name."""

from maestro.decisions.bandits._base import BanditPolicy, Scorer
from maestro.decisions.bandits._factory import POLICIES, create_policy
from maestro.decisions.bandits.decide import Decider, Decisions
from maestro.decisions.bandits.snapshot import ArmState, Snapshot

__all__ = ["POLICIES", "ArmState", "BanditPolicy", "Decider", "Decisions", "Scorer", "Snapshot", "create_policy"]
