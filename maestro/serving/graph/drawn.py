"""What a policy decided for the rows of one call: the words in which it stands in the exposures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drawn:
    """One entry a row.

    Args:
        experiment: the bandit's; a record of another experiment below it is not what was drawn here.
        snapshot: the digest of what the policy knew.
        names: the units as they stand in the log: what was drawn depends on them.
        propensities: the exact probability of the arm that the row went to.
        contexts: the numbers that the policy saw; None when it looks at none.
    """

    experiment: str
    snapshot: str
    names: tuple[str, ...]
    propensities: tuple[float, ...]
    contexts: tuple[tuple[float, ...] | None, ...]

    def take(self, rows: Sequence[int]) -> Drawn:
        """Some rows, in that order."""
        return Drawn(
            self.experiment,
            self.snapshot,
            tuple(self.names[row] for row in rows),
            tuple(self.propensities[row] for row in rows),
            tuple(self.contexts[row] for row in rows),
        )
