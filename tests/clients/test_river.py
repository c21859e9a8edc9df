"""river by name."""

from __future__ import annotations

from maestro.clients.river import RiverDetector


def test_a_detector_is_built_with_its_parameters() -> None:
    quick, slow = (RiverDetector("PageHinkley", threshold=threshold, min_instances=5) for threshold in (1.0, 1e6))
    found = []
    for value in [0.0] * 20 + [5.0] * 20:
        quick.update(value)
        slow.update(value)
        assert not slow.drift_detected
        found.append(quick.drift_detected)
    assert True in found[20:]
    assert True not in found[:20]
