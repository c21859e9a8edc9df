"""Estimates of how long a job takes."""

from __future__ import annotations

import numpy as np
import pytest

from maestro.decisions.duration import estimate_duration, remaining


@pytest.mark.shows("B19", env="laptop")
def test_the_interval_covers_what_it_promises() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        past = rng.lognormal(4.0, 0.4, 11)
        found = estimate_duration(past[:10].tolist(), timeout_s=1e6)
        hits += found.lower <= past[10] <= found.upper
    assert hits / 1000 == pytest.approx(0.8, abs=0.04)


@pytest.mark.shows("B19", env="laptop")
def test_work_scales_the_estimate() -> None:
    found = estimate_duration([10, 20, 40], timeout_s=1000, past_work=[1, 2, 4], work=8)
    assert found.seconds == pytest.approx(80.0)
    assert found.lower == pytest.approx(found.upper)


def test_few_jobs_or_a_limit_bound_it() -> None:
    assert estimate_duration([5.0, 5.0], timeout_s=60).upper == 60
    assert estimate_duration([500.0] * 5, timeout_s=60).seconds == 60


@pytest.mark.shows("B19", env="laptop")
def test_remaining_turns_from_the_estimate_to_the_jobs_own_pace() -> None:
    before = estimate_duration([100.0] * 5, timeout_s=1000)
    assert remaining(before, 10.0, 0.0).seconds == 90.0
    assert remaining(before, 180.0, 0.9).seconds == pytest.approx(18.0, abs=0.1)
    assert remaining(before, 180.0, 1.0).seconds == 0.0


@pytest.mark.parametrize(
    "options",
    [
        {"timeout_s": 0},
        {"timeout_s": 9, "confidence": 1.0},
        {"timeout_s": 9, "past_work": [1.0]},
        {"timeout_s": 9, "work": -1.0},
    ],
)
def test_wrong_numbers_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"timeout_s|past_work|work"):
        estimate_duration([1.0, 2.0, 3.0], **options)  # type: ignore[arg-type]
