"""Cost: the ledger of what was billed, the measured cost of serving, and the report."""

from maestro.operations.cost.ledger import CostEntry, CostLedger
from maestro.operations.cost.report import cost_report
from maestro.operations.cost.serving import ServingUse, measure_server

__all__ = ["CostEntry", "CostLedger", "ServingUse", "cost_report", "measure_server"]
