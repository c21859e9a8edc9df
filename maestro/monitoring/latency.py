"""Quantiles of latency from histogram buckets, as the interval that is really known."""

from __future__ import annotations

import math
from collections.abc import Mapping

from maestro.core.errors import BadInput
from maestro.core.model import Model


class QuantileBounds(Model):
    """The quantile lies above `lower_s` and at or below `upper_s`; `upper_s` is None when it lies beyond the last bucket."""

    quantile: float
    lower_s: float
    upper_s: float | None


def quantile_bounds(buckets: Mapping[str, int], quantile: float) -> QuantileBounds | None:
    """The bucket that holds a quantile, or None without observations.

    Args:
        buckets: upper bound in seconds as text (`+Inf` among them) → observations at or below it.
        quantile: in (0, 1).

    Raises:
        BadInput: counts that fall with a rising bound, no `+Inf`, or a quantile outside (0, 1).

    >>> quantile_bounds({"0.05": 90, "0.1": 96, "0.2": 99, "+Inf": 100}, 0.95)
    QuantileBounds(quantile=0.95, lower_s=0.05, upper_s=0.1)
    >>> quantile_bounds({"0.05": 90, "+Inf": 100}, 0.95).upper_s is None
    True
    """
    if not 0.0 < quantile < 1.0:
        raise BadInput(f"quantile is {quantile}", field="quantile", remedy="give a number between 0 and 1")
    ordered = sorted((math.inf if bound == "+Inf" else float(bound), count) for bound, count in buckets.items())
    counts = [count for _, count in ordered]
    if not ordered or ordered[-1][0] != math.inf or counts != sorted(counts) or counts[0] < 0:
        raise BadInput(
            "the buckets are no cumulative histogram",
            field="buckets",
            remedy="give the counts of every bound and of +Inf",
        )
    total = counts[-1]
    if total == 0:
        return None
    # The rank of the quantile, counted from 1: the smallest value that at least this share is at or below.
    rank = math.ceil(quantile * total - 1e-9)
    lower = 0.0
    for bound, count in ordered:
        if count >= rank:
            return QuantileBounds(quantile=quantile, lower_s=lower, upper_s=None if bound == math.inf else bound)
        lower = bound
    raise AssertionError("the last bucket holds every rank")


def difference(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """Observations between two readings of one histogram.

    >>> difference({"0.1": 12, "+Inf": 20}, {"0.1": 10, "+Inf": 15})
    {'0.1': 2, '+Inf': 5}
    """
    return {bound: count - before.get(bound, 0) for bound, count in now.items()}
