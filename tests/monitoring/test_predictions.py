"""What models answer in production, from readings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from maestro.core.errors import BadInput
from maestro.core.seams import ArmReading, Reading
from maestro.monitoring.latency import quantile_bounds
from maestro.monitoring.predictions import ModelLimits, health_alerts, watch

START = datetime(2026, 1, 1, tzinfo=UTC)


def _reading(
    seconds: int, ok: int, error: int = 0, *, slow: int = 0, epoch: str = "e1", labelled: int = 0, wrong: int = 0
) -> Reading:
    total = ok + error
    arm = ArmReading(
        version="1.0.0",
        requests={"ok": ok, "error": error},
        latency={"0.05": total - slow, "0.1": total - slow, "0.2": total - slow, "+Inf": total},
        labelled=labelled,
        wrong=wrong,
    )
    return Reading(at=START + timedelta(seconds=seconds), epoch=epoch, revision=1, arms={"a": arm})


@pytest.mark.shows("I10", env="laptop")
def test_throughput_errors_and_latency_are_those_between_the_readings() -> None:
    health = watch("m", _reading(0, 1000, 900), _reading(60, 1600, 900))
    (arm,) = health.arms
    assert (arm.requests, arm.errors, arm.throughput_per_s) == (600, 0, 10.0)
    assert arm.p95 is not None
    assert (arm.p95.lower_s, arm.p95.upper_s) == (0.0, 0.05)
    assert health.healthy
    assert health_alerts(health) == ()


def test_errors_alert_only_when_they_are_surely_above_the_limit() -> None:
    few = watch("m", _reading(0, 0), _reading(60, 48, 2))
    assert few.arms[0].error_rate == pytest.approx(0.04)
    assert few.healthy
    many = watch("m", _reading(0, 0), _reading(60, 4800, 200))
    assert not many.healthy
    (alert,) = health_alerts(many)
    assert "errors: 200 of 5000" in alert.body
    assert alert.source == "model/m@1.0.0"


def test_a_slow_tail_alerts() -> None:
    health = watch("m", _reading(0, 0), _reading(60, 1000, slow=20))
    assert health.arms[0].problems == ("latency: p99 is above 0.2 s, the limit is 0.2 s",)


def test_wrong_answers_alert_where_a_limit_is_set() -> None:
    before, now = _reading(0, 0), _reading(60, 1000, labelled=400, wrong=120)
    assert watch("m", before, now).healthy
    assert "quality: 120 wrong of 400" in watch("m", before, now, ModelLimits(wrong_rate=0.1)).arms[0].problems[0]


def test_a_restart_counts_only_what_followed() -> None:
    health = watch("m", _reading(0, 5000, 5000), _reading(60, 10, epoch="e2"))
    assert health.restarted
    assert (health.arms[0].requests, health.arms[0].errors) == (10, 0)


def test_an_arm_that_got_another_version_has_counters_of_its_own() -> None:
    before, now = _reading(0, 5000, 5000), _reading(60, 10)
    renewed = now.model_copy(update={"arms": {"a": now.arms["a"].model_copy(update={"version": "2.0.0"})}})
    assert watch("m", before, renewed).arms[0].requests == 10


def test_an_arm_without_requests_is_unknown_and_not_good() -> None:
    arm = watch("m", _reading(0, 7), _reading(60, 7)).arms[0]
    assert arm.error_rate is None
    assert arm.p95 is None
    assert arm.throughput_per_s == 0.0


def test_a_quantile_beyond_the_last_bucket_has_no_upper_bound() -> None:
    bounds = quantile_bounds({"0.1": 90, "1.0": 94, "+Inf": 100}, 0.95)
    assert bounds is not None
    assert (bounds.lower_s, bounds.upper_s) == (1.0, None)


@pytest.mark.parametrize("buckets", [{}, {"0.1": 5}, {"0.1": 5, "+Inf": 4}])
def test_what_is_no_histogram_is_refused(buckets: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="cumulative histogram"):
        quantile_bounds(buckets, 0.5)
