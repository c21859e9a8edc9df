"""What a policy knows at one moment: a document that never changes, named by its digest."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from maestro.core.model import Model, Name

MIN_EPSILON = 0.01
"""The least probability with which any arm is chosen: without it the log could not be used to judge another policy."""

PolicyName = Literal["thompson", "linucb", "epsilon_greedy"]


class ArmState(Model):
    """One arm: how many rewards arrived, their sum, and for a contextual policy the inverse of its design matrix and its response vector."""

    arm: Name
    count: int = Field(default=0, ge=0)
    reward: float = 0.0
    inverse: tuple[tuple[float, ...], ...] | None = None
    response: tuple[float, ...] | None = None


class Snapshot(Model):
    """A policy's knowledge. Its digest stands in the exposures that were decided on it.

    `number` rises by one with every snapshot that follows; `epsilon` is the least probability of every arm; `low` and `high` are the ranges of the
    context's numbers, by which they are scaled; `width` is how much a contextual policy adds for what it does not know.
    """

    schema_: Literal["maestro.bandit/1"] = Field(default="maestro.bandit/1", alias="schema")
    policy: PolicyName
    experiment: Name
    number: int = Field(default=0, ge=0)
    arms: tuple[ArmState, ...] = Field(min_length=2)
    epsilon: float = Field(default=MIN_EPSILON, ge=MIN_EPSILON, le=0.5)
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    width: float = Field(default=1.0, ge=0.0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [state.arm for state in self.arms]
        if len(set(names)) != len(names):
            raise ValueError("arms: each is named once")
        if self.epsilon * len(names) > 1.0:
            raise ValueError(f"epsilon: {len(names)} arms of at least {self.epsilon:g} each are more than 1")
        if len(self.low) != len(self.high) or any(a > b for a, b in zip(self.low, self.high, strict=False)):
            raise ValueError("low and high: one range for each number of the context")
        size = len(self.low) + 1
        for state in self.arms:
            if self.policy != "linucb":
                if state.inverse is not None or state.response is not None:
                    raise ValueError(f"arms.{state.arm}: only linucb knows a context")
            elif state.inverse is None or state.response is None:
                raise ValueError(f"arms.{state.arm}: linucb needs inverse and response")
            elif len(state.response) != size or [len(row) for row in state.inverse] != [size] * size:
                raise ValueError(f"arms.{state.arm}: inverse and response have the size of the context and one more")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The arms in the order in which columns of propensities stand."""
        return tuple(state.arm for state in self.arms)
