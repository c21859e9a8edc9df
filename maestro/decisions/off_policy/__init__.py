"""What another policy would have earned, from the log of the one that decided: one estimator a file, `create_estimator` gives them by name."""

from maestro.decisions.off_policy._base import Estimate, Logged, OffPolicyEstimator
from maestro.decisions.off_policy._factory import ESTIMATORS, create_estimator
from maestro.decisions.off_policy.overlap import check_overlap

__all__ = ["ESTIMATORS", "Estimate", "Logged", "OffPolicyEstimator", "check_overlap", "create_estimator"]
