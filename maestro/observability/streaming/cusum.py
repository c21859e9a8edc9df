"""CUSUM under the name by which the factory builds it: `maestro.decisions.drift.cusum`."""

from maestro.decisions.drift.cusum import Cusum

__all__ = ["Cusum"]
