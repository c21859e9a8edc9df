"""Sticky assignment of units to arms, and how exactly the split holds.

A unit's bucket is the SHA-256 digest of the UTF-8 bytes of salt followed by key, read whole as a big-endian integer, modulo 10,000.
Each arm owns a run of buckets. The challenger's starts at 0, so that a unit inside 1 % stays inside at 10 %.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from maestro.core.errors import BadInput
from maestro.core.graph import FULL_WEIGHT, Arm


def bucket(salt: str, key: str) -> int:
    """The unit's bucket, 0 to 9,999.

    >>> bucket("m-2026-11", "user-17")
    2584
    """
    return int.from_bytes(hashlib.sha256((salt + key).encode()).digest(), "big") % FULL_WEIGHT


def assign(arms: Sequence[Arm], salt: str, key: str) -> str:
    """The node that serves the unit.

    The last arm listed owns the buckets from 0 up, the one before it those above, and the first what is left. The last arm is
    thus nested: its buckets at a weight are among its buckets at every larger weight, whatever the other arms do. List the
    challenger last. With more than two arms, units of the arms between may move when it grows.

    Raises:
        BadInput: the weights do not add up to 10,000.

    >>> arms = [Arm(node="champion", weight=7000), Arm(node="challenger", weight=3000)]
    >>> assign(arms, "m-2026-11", "user-17"), assign(arms, "m-2026-11", "user-18")
    ('challenger', 'champion')
    """
    return arm_of(arms, bucket(salt, key))


def arm_of(arms: Sequence[Arm], number: int) -> str:
    """The node that owns a bucket.

    Raises:
        BadInput: the weights do not add up to 10,000, or the bucket is outside 0 to 9,999.
    """
    if sum(arm.weight for arm in arms) != FULL_WEIGHT:
        raise BadInput("weights do not add up to 10,000", remedy="give weights in 1/10,000", field="arms")
    if not 0 <= number < FULL_WEIGHT:
        raise BadInput(f"bucket {number} is outside 0 to 9,999", field="bucket")
    bound = 0
    for arm in reversed(arms):
        bound += arm.weight
        if number < bound:
            return arm.node
    raise AssertionError("buckets below 10,000 are all owned")


@dataclass(frozen=True)
class SplitAccuracy:
    """How close an arm's observed share is to the set one.

    Args:
        observed: the arm's share of first exposures; None without any.
        accuracy: 1 - |observed - set| / set; None while `verdict` is `too_few`.
        needed: units from which on the accuracy is judged.
        verdict: `accurate` above 0.95, `inaccurate` at or below, `too_few` while chance alone could decide.
    """

    observed: float | None
    accuracy: float | None
    needed: int
    verdict: Literal["accurate", "inaccurate", "too_few"]


def split_accuracy(units: int, total: int, share: float) -> SplitAccuracy:
    """Judge one arm's share.

    Args:
        units: first exposures of distinct units in the arm.
        total: the same over all arms.
        share: the share that is set, in (0, 1].

    From 9 (1 - p) / (0.0025 p) units on, three standard deviations of chance are at most the 5 % that the verdict allows.

    Raises:
        BadInput: counts that cannot be, or a share outside (0, 1].

    >>> split_accuracy(1012, 40000, 0.025).verdict, split_accuracy(1012, 200000, 0.005).needed
    ('too_few', 716400)
    >>> split_accuracy(4980, 10000, 0.5)
    SplitAccuracy(observed=0.498, accuracy=0.996, needed=3600, verdict='accurate')
    """
    if not 0.0 < share <= 1.0:
        raise BadInput(f"share {share} is outside (0, 1]", field="share")
    if not 0 <= units <= total:
        raise BadInput(f"{units} of {total} units cannot be", field="units")
    needed = _needed(share)
    observed = units / total if total else None
    if observed is None or total < needed:
        return SplitAccuracy(observed, None, needed, "too_few")
    accuracy = round(1 - abs(observed - share) / share, 12)
    return SplitAccuracy(observed, accuracy, needed, "accurate" if accuracy > 0.95 else "inaccurate")


def _needed(share: float) -> int:
    exact = 9 * (1 - share) / (0.0025 * share)
    return int(-(-round(exact, 6) // 1))
