"""LinUCB with disjoint arms (Li, Chu, Langford and Schapire, "A contextual-bandit approach to personalized news article recommendation", WWW 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from maestro.core.errors import BadInput
from maestro.decisions.bandits._base import Floats, Integers
from maestro.decisions.bandits.decide import checked_context
from maestro.decisions.bandits.floor import begin, best, check_rewards, floored, tallied
from maestro.decisions.bandits.snapshot import ArmState, PolicyName, Snapshot

WIDTH = 1.0
"""How many standard deviations of an arm's estimate are added to it."""
_CLIP = 2.0


class LinUcbPolicy:
    """One ridge regression of the reward on the context for each arm; chooses the highest upper bound, the others with probability `epsilon`.

    Numbers of the context are scaled by their range to −1 … 1 (clipped at ±2, 0 when missing) and joined by a constant. The inverse of an arm's design
    matrix is kept up by Sherman and Morrison's formula, one reward at a time.
    """

    name: ClassVar[PolicyName] = "linucb"
    contextual: ClassVar[bool] = True

    def start(
        self,
        experiment: str,
        arms: Sequence[str],
        *,
        epsilon: float = 0.01,
        ranges: Sequence[tuple[float, float]] = (),
    ) -> Snapshot:
        """The first snapshot: identity matrices.

        Raises:
            BadInput: there is no context to act on.
        """
        if not ranges:
            raise BadInput(
                "linucb acts on a context, and there is none",
                field="context",
                remedy="use a model whose contract has numeric features without personal data, or another policy",
            )
        size = len(ranges) + 1
        identity = tuple(tuple(float(i == j) for j in range(size)) for i in range(size))
        states = [ArmState(arm=arm, inverse=identity, response=(0.0,) * size) for arm in arms]
        return begin("linucb", experiment, states, epsilon, ranges, WIDTH)

    def learn(self, snapshot: Snapshot, arm: Integers, reward: Floats, context: Floats | None = None) -> Snapshot:
        """One rank-one update a reward."""
        check_rewards(snapshot, arm, reward)
        x = design(snapshot, checked_context(context, arm.size, len(snapshot.low)))
        states = []
        for position, state in enumerate(tallied(snapshot, arm, reward)):
            inverse, response = np.array(state.inverse), np.array(state.response)
            mine = arm == position
            for row, value in zip(x[mine], reward[mine], strict=True):
                turned = inverse @ row
                inverse -= np.outer(turned, turned) / (1.0 + row @ turned)
                response += value * row
            states.append(
                state.model_copy(
                    update={
                        "inverse": tuple(tuple(line) for line in inverse.tolist()),
                        "response": tuple(response.tolist()),
                    }
                )
            )
        return snapshot.model_copy(update={"number": snapshot.number + 1, "arms": tuple(states)})

    def scorer(self, snapshot: Snapshot) -> LinUcbScorer:
        """Ready for use."""
        return LinUcbScorer(snapshot)


class LinUcbScorer:
    """The regressions of one snapshot, those of all arms side by side."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        inverses = [np.array(state.inverse) for state in snapshot.arms]
        responses = [np.array(state.response) for state in snapshot.arms]
        self._inverses = np.concatenate(inverses, axis=1)  # numbers + 1 × arms · (numbers + 1)
        weights = [inverse @ response for inverse, response in zip(inverses, responses, strict=True)]
        self._weights = np.stack(weights, axis=1)  # numbers + 1 × arms

    def score(self, units: int, context: Floats | None) -> tuple[Floats, Floats]:
        """1 − (arms − 1) · epsilon for the arm of the highest upper bound; the values are the regressions' predictions."""
        x = design(self._snapshot, checked_context(context, units, len(self._snapshot.low)))
        size = x.shape[1]
        turned = _product(x, self._inverses).reshape(units, -1, size)
        variance = turned[:, :, 0] * x[:, :1]
        for column in range(1, size):
            variance += turned[:, :, column] * x[:, column : column + 1]
        means = _product(x, self._weights)
        bounds = means + self._snapshot.width * np.sqrt(np.maximum(variance, 0.0))
        return floored(best(bounds), self._snapshot.epsilon), means


def design(snapshot: Snapshot, context: Floats) -> Floats:
    """The context scaled, and a constant: rows × (numbers + 1)."""
    low, high = np.array(snapshot.low), np.array(snapshot.high)
    result = np.ones((len(context), len(low) + 1))
    scaled = result[:, :-1]
    np.divide(context - (low + high) / 2, np.where(high > low, (high - low) / 2, 1.0), out=scaled)
    np.clip(scaled, -_CLIP, _CLIP, out=scaled)
    scaled[np.isnan(scaled)] = 0.0
    return result


def _product(x: Floats, matrix: Floats) -> Floats:
    """x @ matrix, added up column by column: a library's matrix product may round a row otherwise in a batch than alone."""
    result: Floats = x[:, :1] * matrix[0]
    for row in range(1, len(matrix)):
        result += x[:, row : row + 1] * matrix[row]
    return result
