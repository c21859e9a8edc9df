"""What policies that look at no context know of an arm: how many rewards there were, and their sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from maestro.decisions.bandits._base import Floats, Integers
from maestro.decisions.bandits.floor import begin, check_rewards, tallied
from maestro.decisions.bandits.snapshot import ArmState, PolicyName, Snapshot


class TallyPolicy:
    """Starts with nothing known and counts; a policy of its own says what the counts mean."""

    name: ClassVar[PolicyName]
    contextual: ClassVar[bool] = False

    def start(
        self,
        experiment: str,
        arms: Sequence[str],
        *,
        epsilon: float = 0.01,
        ranges: Sequence[tuple[float, float]] = (),
    ) -> Snapshot:
        """The first snapshot: every arm equally likely."""
        return begin(self.name, experiment, [ArmState(arm=arm) for arm in arms], epsilon)

    def learn(self, snapshot: Snapshot, arm: Integers, reward: Floats, context: Floats | None = None) -> Snapshot:
        """Count and sum the rewards."""
        check_rewards(snapshot, arm, reward)
        return snapshot.model_copy(update={"number": snapshot.number + 1, "arms": tallied(snapshot, arm, reward)})
