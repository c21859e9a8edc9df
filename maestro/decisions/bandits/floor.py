"""The floor under every arm's probability, and the checks that all policies share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import ValidationError

from maestro.core.errors import BadInput, from_validation
from maestro.decisions.bandits._base import Floats, Integers
from maestro.decisions.bandits.snapshot import ArmState, PolicyName, Snapshot


def floored(wish: Floats, epsilon: float) -> Floats:
    """A policy's own probabilities, mixed so that no arm's is below `epsilon`: epsilon + (1 − arms · epsilon) · wish.

    >>> floored(np.array([[1.0, 0.0]]), 0.01).tolist()
    [[0.99, 0.01]]
    """
    result: Floats = epsilon + (1.0 - wish.shape[1] * epsilon) * wish
    return result


def best(values: Floats) -> Floats:
    """Probability 1 to the arm of the highest value in each row, shared equally among those that tie."""
    top = values == values.max(axis=1, keepdims=True)
    result: Floats = top / top.sum(axis=1, keepdims=True)
    return result


def begin(
    policy: PolicyName,
    experiment: str,
    arms: Sequence[ArmState],
    epsilon: float,
    ranges: Sequence[tuple[float, float]] = (),
    width: float = 1.0,
) -> Snapshot:
    """A first snapshot.

    Raises:
        BadInput: names the field.
    """
    try:
        return Snapshot(
            policy=policy,
            experiment=experiment,
            arms=tuple(arms),
            epsilon=epsilon,
            low=tuple(low for low, _ in ranges),
            high=tuple(high for _, high in ranges),
            width=width,
        )
    except ValidationError as error:
        raise from_validation(error, f"bandit {experiment!r}") from None


def check_rewards(snapshot: Snapshot, arm: Integers, reward: Floats) -> None:
    """Arms that exist, rewards from 0 to 1.

    Raises:
        BadInput: they are not.
    """
    if arm.shape != reward.shape or arm.ndim != 1:
        raise BadInput("one arm for each reward", field="arm", remedy="give arrays of one length")
    if arm.size and not (arm.min() >= 0 and arm.max() < len(snapshot.arms)):
        raise BadInput(
            "a reward names an arm that the snapshot has not", field="arm", remedy=f"use {', '.join(snapshot.names)}"
        )
    if not (np.isfinite(reward).all() and (reward >= 0.0).all() and (reward <= 1.0).all()):
        raise BadInput("a reward is outside 0 to 1", field="reward", remedy="scale rewards to 0 to 1")


def tallied(snapshot: Snapshot, arm: Integers, reward: Floats) -> tuple[ArmState, ...]:
    """The arms with the rewards counted and summed."""
    counts = np.bincount(arm, minlength=len(snapshot.arms))
    sums = np.bincount(arm, weights=reward, minlength=len(snapshot.arms))
    return tuple(
        state.model_copy(update={"count": state.count + int(count), "reward": state.reward + float(total)})
        for state, count, total in zip(snapshot.arms, counts, sums, strict=True)
    )
