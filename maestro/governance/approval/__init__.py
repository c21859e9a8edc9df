"""Approval: automated gates on gathered evidence, then the answer of a person who had no part in the version."""

from maestro.governance.approval.approvals import Approvals
from maestro.governance.approval.evidence import EvidenceGatherer, Gathered
from maestro.governance.approval.store import Approval, ApprovalStatus, ApprovalStore

__all__ = ["Approval", "ApprovalStatus", "ApprovalStore", "Approvals", "EvidenceGatherer", "Gathered"]
