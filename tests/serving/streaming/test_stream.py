"""One column's stream, and the monitor's queue."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maestro.core.errors import BadInput
from maestro.observability.streaming import DETECTORS
from maestro.serving.sampling import Sample
from maestro.serving.streaming.monitor import PREDICTION, StreamMonitor
from maestro.serving.streaming.stream import Stream


@pytest.mark.parametrize("detector", sorted(set(DETECTORS) - {"kswin"}))
def test_a_skewed_column_without_a_change_stays_silent_and_a_change_is_found(detector: str) -> None:
    rng = np.random.default_rng(3)
    stream = Stream(detector)
    assert stream.take(rng.exponential(1.0, 8000).tolist()) == 0
    quiet = stream.effect()
    assert quiet is not None
    assert quiet < 0.1
    assert stream.take((rng.exponential(1.0, 1600) + 2.0).tolist()) >= 1
    effect = stream.effect()
    assert effect is not None
    assert effect > 0.7


def sample(*values: Any) -> Sample:
    return Sample("m", "a", "1.0.0", 1, None, None, list(values), None)


def test_a_full_queue_drops_and_counts_and_what_is_no_number_is_let_go() -> None:
    monitor = StreamMonitor(limit=10, flush_s=60)
    try:
        for _ in range(10):
            monitor.offer(sample(1.0, 2.0))
        assert monitor.dropped == 10
        monitor.flush()
        assert monitor.series()[0] == ("maestro_drift_share", [(("m@1.0.0",), 0.0)])
        monitor.offer(sample(float("nan"), "text", None))
        monitor.offer(sample(*range(8)))
        assert monitor.dropped == 18, "three wait"
        monitor.flush()
        monitor.offer(sample(*range(8)))
        assert monitor.dropped == 18
    finally:
        monitor.close()
    assert PREDICTION == "prediction"


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(BadInput, match="'ddm' is not known"):
        Stream("ddm")
