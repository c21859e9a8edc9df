"""How often one caller may ask."""

from __future__ import annotations

import pytest

from maestro.core.errors import TooManyRequests
from maestro.serving.engine.rate import TABLE_BYTES, RateLimit


def test_a_burst_then_the_rate_and_each_caller_its_own() -> None:
    at = [100.0]
    table = bytearray(TABLE_BYTES)
    limit = RateLimit(2.0, 3, table=table, key=b"k", now=lambda: at[0])
    other_process = RateLimit(2.0, 3, table=table, key=b"k", now=lambda: at[0])
    limit.admit("x")
    other_process.admit("x")
    limit.admit("x")
    with pytest.raises(TooManyRequests) as refused:
        other_process.admit("x")
    assert refused.value.extra["retry_after"] >= 1
    limit.admit("y")
    at[0] += 0.5
    other_process.admit("x")
    with pytest.raises(TooManyRequests):
        limit.admit("x")
    at[0] += 100.0
    for _ in range(3):
        limit.admit("x")
    with pytest.raises(TooManyRequests):
        limit.admit("x")
