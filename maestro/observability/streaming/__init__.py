"""Streaming drift: one detector a file, `create_detector` builds them by name."""

from maestro.observability.streaming._base import DriftDetector
from maestro.observability.streaming._factory import DETECTORS, create_detector, signals

__all__ = ["DETECTORS", "DriftDetector", "create_detector", "signals"]
