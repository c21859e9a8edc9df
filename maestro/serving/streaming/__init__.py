"""Drift in what is served, found while it is served: sampled values go through streaming detectors, off the hot path."""

from maestro.serving.streaming.monitor import StreamMonitor

__all__ = ["StreamMonitor"]
