"""The rollout decision: climb a rung, keep going, roll back, freeze, or end undecided.

For each bad event, d = challenger's rate - champion's. The rollout rolls back when d is shown to exceed what is tolerated,
and leaves a rung when every d is shown to lie below the rung's margin; alpha covers all looks and all rungs together.
"""

from maestro.decisions.rollout.look import Look
from maestro.decisions.rollout.prediction import Prediction, TrafficRates, predict
from maestro.decisions.rollout.record import make_record, replay
from maestro.decisions.rollout.state import RolloutState, release, start
from maestro.decisions.rollout.step import StepResult, step

__all__ = [
    "Look",
    "Prediction",
    "RolloutState",
    "StepResult",
    "TrafficRates",
    "make_record",
    "predict",
    "release",
    "replay",
    "start",
    "step",
]
