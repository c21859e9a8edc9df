"""A/B tests: experiments declared in a file, and their analysis over recorded exposures.

Law: an analysis reads immutable files and decides nothing by itself; its verdict is a record that other parts act on.
"""

from maestro.ab_testing.analysis import ExperimentResult, MetricResult, analyse
from maestro.ab_testing.experiment import Experiment, ExperimentMetric, load_experiment

__all__ = ["Experiment", "ExperimentMetric", "ExperimentResult", "MetricResult", "analyse", "load_experiment"]
