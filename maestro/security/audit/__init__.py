"""The audit chain: who did what, chained by digest, its heads signed and kept outside the database too."""

from maestro.security.audit.entry import AuditEntry
from maestro.security.audit.log import AuditLog
from maestro.security.audit.report import AuditProblem, AuditReport

__all__ = ["AuditEntry", "AuditLog", "AuditProblem", "AuditReport"]
