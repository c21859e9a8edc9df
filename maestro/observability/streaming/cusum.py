"""CUSUM under the name by which the factory builds it: `maestro.decisions.cusum`."""

from maestro.decisions.cusum import Cusum

__all__ = ["Cusum"]
