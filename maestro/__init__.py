"""Maestro ML: a model reaches production only by a statistically valid, signed, costed and replayable decision."""

__version__ = "0.1.0"
