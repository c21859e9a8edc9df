"""One column's stream, and the monitor's queue."""

from __future__ import annotations

import numpy as np
import pytest

from maestro.core.errors import BadInput
from maestro.observability.streaming import DETECTORS
from maestro.serving.graph._base import NOBODY, Observation
from maestro.serving.streaming.monitor import PREDICTION, StreamMonitor
from maestro.serving.streaming.stream import Stream
from maestro.serving.table import Prediction


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


def seen(value: float) -> Observation:
    return Observation(
        arm="a", version="1.0.0", revision=1, experiment=None, propensity=1.0, key=None, units=(NOBODY,),
        prediction=Prediction([value]), batch=None, contract=None, latency_s=0.001, outcome="ok",
    )  # fmt: skip


def test_every_so_many_requests_one_is_looked_at_and_a_full_queue_drops() -> None:
    monitor = StreamMonitor(every=4, limit=10, flush_s=60)
    try:
        for number in range(80):
            monitor.observe("m", seen(float(number)))
        assert monitor.dropped == 10
        monitor.flush()
        assert monitor.series()[0] == ("maestro_drift_share", [(("m@1.0.0",), 0.0)])
        monitor.observe("m", seen(float("nan")))
        monitor.flush()
    finally:
        monitor.close()
    assert PREDICTION == "prediction"


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(BadInput, match="'ddm' is not known"):
        Stream("ddm")
