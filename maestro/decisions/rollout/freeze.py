"""What freezes a rollout: looks that cannot be judged, arms that cannot be compared, a person's edit."""

from __future__ import annotations

import numpy as np

from maestro.core.policy import RolloutPolicy
from maestro.decisions import sample_ratio
from maestro.decisions.rollout.look import Look
from maestro.decisions.rollout.metric_test import MetricTest
from maestro.decisions.rollout.state import STICKY, Freeze, RolloutState

LABELS_LEVEL = 0.001
"""The probability of finding, over all looks, that labels are missing at different rates where they are not."""


def fault_of(look: Look, tests: tuple[MetricTest, ...], baking: bool) -> Freeze | None:
    """Why this look cannot be judged; None where it can. It freezes until a look comes that can."""
    if not look.source_healthy:
        return Freeze(cause="source", detail="the metric source gave no fresh reading")
    if min(look.requests, look.elapsed_ms, look.dropped) < 0:
        return Freeze(cause="source", detail="requests, elapsed time or drops are not counts")
    if min(look.exposures.champion, look.exposures.challenger) < 0:
        return Freeze(cause="source", detail="exposures are not counts")
    for test in tests:
        if not look.totals(test.name).is_valid or not look.missing(test.name).is_valid:
            return Freeze(cause="source", detail=f"{test.name}: not counts of bad events among all")
    if look.dropped > 0:
        return Freeze(cause="source", detail=f"{look.dropped} exposure records were lost")
    if look.requests == 0:
        return Freeze(cause="no_data", detail="no requests since the look before")
    for test in tests:
        expected = test.event == "error" or (test.event == "latency" and not baking)
        if expected and not any(look.totals(test.name).values):
            return Freeze(cause="no_data", detail=f"{test.name}: requests were served but none was counted")
    return None


def freeze_of(
    policy: RolloutPolicy, state: RolloutState, look: Look, fault: Freeze | None, baking: bool
) -> Freeze | None:
    """Why nothing may move after this look: a person's edit, an earlier freeze that lasts, a broken comparison, a fault."""
    if look.human_edit:
        return Freeze(cause="human", detail="a person changed the graph")
    if state.frozen is not None and state.frozen.cause in STICKY:
        return state.frozen
    # One test a rung, each with its part: units may count again on the next rung, where the graph has another revision.
    level = sample_ratio.LEVEL / max(1, len(policy.rungs) - 1)
    if not baking and state.sample_ratio.peak >= -np.log(level):
        detail = f"the arms' first exposures do not match their weights (level {level:.2g})"
        return Freeze(cause="sample_ratio", detail=detail)
    for name, metric in state.metrics.items():
        for evidence, arm in zip(metric.missing or (), ("challenger", "champion"), strict=False):
            if evidence.peak[0] >= -np.log(LABELS_LEVEL / 2):
                return Freeze(cause="labels", detail=f"{name}: labels are missing more often in the {arm}")
    return fault
