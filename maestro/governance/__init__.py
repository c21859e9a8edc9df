"""Lineage, approvals, versions, decisions and rollouts: how a version earns its traffic, and the record of why."""
