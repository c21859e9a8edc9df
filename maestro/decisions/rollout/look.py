"""A look: everything that was observed since the look before, as integers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from maestro.core.model import Model

NOT_A_COUNT = -1


def _whole(value: Any) -> int:
    """A count, or -1 for what is no count: NaN, an infinity, a fraction, a negative number, nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NOT_A_COUNT
    return int(value) if 0 <= value < 2**53 and value == value // 1 else NOT_A_COUNT


Count = Annotated[int, BeforeValidator(_whole)]
"""A number of events. What a source gives that is no count becomes -1, is recorded so, and freezes the rollout."""


class ArmCounts(Model):
    """Bad and all events of each arm."""

    champion: tuple[Count, Count] = (0, 0)
    challenger: tuple[Count, Count] = (0, 0)

    @property
    def values(self) -> tuple[Count, Count, Count, Count]:
        """Bad and all of the champion, then of the challenger."""
        return (*self.champion, *self.challenger)

    @property
    def is_valid(self) -> bool:
        """Whether all four are counts and no arm has more bad events than events."""
        return _is_valid(self.values)


class Exposures(Model):
    """Units that were exposed for the first time on this rung, by arm."""

    champion: Count = 0
    challenger: Count = 0


class Look(Model):
    """What was observed since the look before, all of it on one rung.

    Counts are differences of raw counters. A source that could not be read gives `source_healthy = False` and no counts; its
    next good reading then covers the gap.
    """

    counts: dict[str, ArmCounts] = Field(
        default_factory=dict, description="errors and labelled answers: {metric: {arm: [bad, all]}}"
    )
    blocks: dict[str, tuple[tuple[Count, Count, Count, Count], ...]] = Field(
        default_factory=dict,
        description="latency: for each whole second [champion's bad, all, challenger's bad, all], in order",
    )
    labels: dict[str, ArmCounts] = Field(
        default_factory=dict,
        description="labelled metrics: {metric: {arm: [units labelled, units exposed longer ago than label_wait]}}",
    )
    exposures: Exposures = Exposures()
    requests: Count = Field(default=0, description="requests that both arms served")
    elapsed_ms: Count = 0
    dropped: Count = Field(default=0, description="exposure records that were lost")
    source_healthy: bool = True
    human_edit: bool = Field(default=False, description="a foreign edit of the graph was seen")

    def missing(self, metric: str) -> ArmCounts:
        """Units without a label among those that should have one. Labels that come late, for an earlier look, are left out."""
        labels = self.labels.get(metric, ArmCounts())
        return ArmCounts(champion=_missing(labels.champion), challenger=_missing(labels.challenger))

    def totals(self, metric: str) -> ArmCounts:
        """Bad and all events of a metric, from counts or summed over blocks."""
        blocks = self.blocks.get(metric)
        if blocks is None:
            return self.counts.get(metric, ArmCounts())
        if not all(_is_valid(block) for block in blocks):
            return ArmCounts(champion=(NOT_A_COUNT, NOT_A_COUNT))
        sums = [sum(block[column] for block in blocks) for column in range(4)]
        return ArmCounts(champion=(sums[0], sums[1]), challenger=(sums[2], sums[3]))


def _missing(pair: tuple[int, int]) -> tuple[int, int]:
    labelled, eligible = pair
    if labelled < 0 or eligible < 0:
        return NOT_A_COUNT, NOT_A_COUNT
    return max(0, eligible - labelled), eligible


def _is_valid(values: tuple[int, int, int, int]) -> bool:
    bad_a, all_a, bad_b, all_b = values
    return 0 <= bad_a <= all_a and 0 <= bad_b <= all_b
