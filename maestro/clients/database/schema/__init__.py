"""Every table of the platform database, in one MetaData. A domain reads and writes its tables in its own `store.py`."""

from maestro.clients.database.schema import core, governance, operations, security, training, tuning
from maestro.clients.database.schema._base import UtcTime, metadata

__all__ = ["UtcTime", "core", "governance", "metadata", "operations", "security", "training", "tuning"]
