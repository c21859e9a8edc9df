"""`from operations.sla_monitor import SLAMonitor`, as documents promised it."""

from maestro.operations.sla_monitor import SLAMonitor as SLAMonitor
