"""Decisions on a snapshot: exact propensities, one counter-based number a unit, nothing else; so a log replays bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maestro.core.errors import BadInput
from maestro.decisions.bandits._base import BanditPolicy, Floats, Integers
from maestro.decisions.bandits.draws import key_of, uniform, uniforms
from maestro.decisions.bandits.snapshot import Snapshot


@dataclass(frozen=True)
class Decisions:
    """One entry a unit: the arm's position in the snapshot, the exact probability with which it was chosen, and whether another arm is expected to be better."""

    arm: Integers
    propensity: Floats
    explored: np.typing.NDArray[np.bool_]


class Decider:
    """A policy on one snapshot, ready to choose.

    The arm is the one in whose run of the cumulative propensities the unit's number lies, arms in the snapshot's order.

    >>> from maestro.decisions.bandits import create_policy
    >>> policy = create_policy("thompson")
    >>> decider = Decider(policy, policy.start("e", ["a", "b"]))
    >>> decider.one("user-17"), decider.many(["user-17"]).propensity.tolist()
    (('b', 0.5, False), [0.5])
    """

    def __init__(self, policy: BanditPolicy, snapshot: Snapshot) -> None:
        if policy.name != snapshot.policy:
            raise BadInput(
                f"the snapshot is of policy {snapshot.policy}, not of {policy.name}",
                field="policy",
                remedy="start a new experiment for another policy",
            )
        self.snapshot = snapshot
        self.digest = snapshot.content_digest()
        self.names = snapshot.names
        self.contextual = policy.contextual
        self._key = key_of(snapshot.experiment, self.digest)
        self._scorer = policy.scorer(snapshot)
        self._width = len(snapshot.low)
        self._fixed: tuple[list[float], list[float], list[bool]] | None = None
        if not policy.contextual:
            # Without a context all units have the same probabilities: worked out once.
            propensity, values = self._scorer.score(1, None)
            explored = _explored(values)[0].tolist()
            self._fixed = (propensity[0].tolist(), _cumulative(propensity)[0].tolist(), explored)

    def one(self, unit: str, context: Sequence[float] | None = None) -> tuple[str, float, bool]:
        """The arm's name, its propensity and whether it is an exploration, for one unit."""
        if self._fixed is None:
            chosen = self.many([unit], None if context is None else np.array([context], dtype=np.float64))
            return self.names[int(chosen.arm[0])], float(chosen.propensity[0]), bool(chosen.explored[0])
        propensity, bounds, explored = self._fixed
        number = uniform(self._key, unit)
        arm = 0
        while number >= bounds[arm]:
            arm += 1
        return self.names[arm], propensity[arm], explored[arm]

    def many(self, units: Sequence[str], context: Floats | None = None) -> Decisions:
        """Decide for many units.

        Args:
            context: units × numbers, NaN where a number is missing; for contextual policies.

        Raises:
            BadInput: the context is not there, or of another shape.
        """
        numbers = uniforms(self._key, units)
        if self._fixed is not None:
            propensity, bounds, explored = (np.array(part) for part in self._fixed)
            arm = np.searchsorted(bounds, numbers, side="right").astype(np.int64)
            return Decisions(arm, propensity[arm], explored[arm])
        known = checked_context(context, len(units), self._width)
        each, values = self._scorer.score(len(units), known)
        rows = np.arange(len(units))
        arm = (numbers[:, None] >= _cumulative(each)).sum(axis=1)
        return Decisions(arm, each[rows, arm], _explored(values)[rows, arm])

    def propensities(self, units: int, context: Floats | None = None) -> Floats:
        """Every arm's probability, units × arms: what an off-policy estimate of this snapshot needs."""
        if self._fixed is not None:
            return np.tile(np.array(self._fixed[0]), (units, 1))
        return self._scorer.score(units, checked_context(context, units, self._width))[0]

    def means(self) -> list[float]:
        """The mean reward seen on each arm; NaN before its first."""
        return [state.reward / state.count if state.count else float("nan") for state in self.snapshot.arms]


def checked_context(context: Floats | None, units: int, width: int) -> Floats:
    """The context of a contextual policy.

    Raises:
        BadInput: it is not there, or of another shape.
    """
    if context is None or context.shape != (units, width):
        got = "none" if context is None else f"{context.shape[0]} × {context.shape[-1]}"
        raise BadInput(
            f"the policy needs a context of {units} × {width} numbers, got {got}",
            field="context",
            remedy="record the context that the policy acts on",
        )
    return context


def _cumulative(propensity: Floats) -> Floats:
    bounds = np.cumsum(propensity, axis=1)
    bounds[:, -1] = 1.0  # rounding must not leave a number above the last bound
    return bounds


def _explored(values: Floats) -> np.typing.NDArray[np.bool_]:
    result: np.typing.NDArray[np.bool_] = values < values.max(axis=1, keepdims=True)
    return result
