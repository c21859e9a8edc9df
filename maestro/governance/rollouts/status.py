"""Where a rollout stands, for its readers (`status`) and for whoever resumes it (`step`)."""

from __future__ import annotations

from enum import StrEnum


class RolloutStatus(StrEnum):
    """The states that users see."""

    RUNNING = "running"
    FROZEN = "frozen"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    UNDECIDED = "undecided_at_budget"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing can follow."""
        return self.value not in RUNNING


RUNNING = ("running", "frozen")
"""The states in which a controller has work to do."""


class Step(StrEnum):
    """What the controller does next. Each is idempotent, and the row names it before it is begun."""

    AUTHORISE = "authorise"
    PLACE = "place"
    READY = "ready"
    WATCH = "watch"
    STATE_PROMOTION = "state_promotion"
    FINALISE = "finalise"
    FINAL_READY = "final_ready"
    RECORD_PROMOTION = "record_promotion"
    RESTORE = "restore"
    RESTORED = "restored"
    DONE = "done"
