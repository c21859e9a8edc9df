"""SLOs and SLA reports, cost, and the records of checks."""
