"""The log of decisions: appended with its audit entry and event in one transaction, chained, replayable."""

from maestro.governance.decisions.code import code_identity
from maestro.governance.decisions.replay import Replayers, ReplayReport, replay_all
from maestro.governance.decisions.store import DecisionStore

__all__ = ["DecisionStore", "ReplayReport", "Replayers", "code_identity", "replay_all"]
