"""Looks at a rollout in which all is well, and the way up by them."""

from __future__ import annotations

from typing import Any

from maestro.core.policy import RolloutPolicy
from maestro.decisions.rollout import Look, RolloutState, step
from tests.decisions.rollout.traffic import policy

POLICY = policy()


def look(champion: int = 900, challenger: int = 100, *, bad: int = 0, wrong: float = 0.1, **changes: Any) -> Look:
    """A look in which all is well, but for `bad` errors of the challenger."""
    quality = {"champion": [round(champion * wrong), champion], "challenger": [round(challenger * wrong), challenger]}
    document: dict[str, Any] = {
        "counts": {"errors": {"champion": [0, champion], "challenger": [bad, challenger]}, "quality": quality},
        "blocks": {"slow": [[0, champion, 0, challenger]]},
        "labels": {"quality": {"champion": [champion, champion], "challenger": [challenger, challenger]}},
        "exposures": {"champion": champion, "challenger": challenger},
        "requests": champion + challenger,
        "elapsed_ms": 1000,
    }
    return Look.model_validate(document | changes)


def shares(rules: RolloutPolicy, state: RolloutState, requests: int = 1000) -> tuple[int, int]:
    part = rules.rungs[state.rung].weight * requests // 100
    return requests - part, part


def climb(rules: RolloutPolicy, state: RolloutState, rung: int) -> RolloutState:
    """Good looks until a rung is reached."""
    for _ in range(300):
        if state.rung == rung:
            return state
        state = step(rules, state, look(*shares(rules, state))).state
    raise AssertionError(f"never reached rung {rung}")
