"""Batch drift: read a reference and current data, judge, report, alert, record."""

from maestro.monitoring.drift.batch import DriftCheck, DriftOptions, check_drift
from maestro.monitoring.drift.evidence import DriftDecision, decide, replay_drift
from maestro.monitoring.drift.reference import Reference, load_reference, reference_from_features, save_reference
from maestro.monitoring.drift.tables import read_table

__all__ = [
    "DriftCheck",
    "DriftDecision",
    "DriftOptions",
    "Reference",
    "check_drift",
    "decide",
    "load_reference",
    "read_table",
    "reference_from_features",
    "replay_drift",
    "save_reference",
]
