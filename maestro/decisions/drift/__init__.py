"""Batch drift: has the distribution of a column, or of a table, moved by more than is immaterial?

Law: a column drifts only when its corrected p-value is below the threshold AND the lower confidence bound of its effect
exceeds `material`, so that the verdict keeps its meaning from a thousand rows to a hundred million.
"""

from maestro.decisions.drift.quality import QualityReport, judge_quality
from maestro.decisions.drift.reference import ReferenceProfile, profile
from maestro.decisions.drift.verdict import ColumnDrift, DriftVerdict, judge_drift

__all__ = [
    "ColumnDrift",
    "DriftVerdict",
    "QualityReport",
    "ReferenceProfile",
    "judge_drift",
    "judge_quality",
    "profile",
]
