"""TPE that begins with what is cheap and tries nothing twice.

The initial design is cost-effective (Lee, Perrone, Archambeau and Seeger, Cost-aware Bayesian Optimization, 2020): of a few random points the cheapest, a
trial's seconds being predicted from those before it, as linear in the logarithm; trials that cost more are then soon measured against
finished ones. A point that was tried is not tried again: with fixed folds and seed it would come to the same. Since seconds are measured, a seed alone does not repeat a search, as it does with `tpe`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from optuna import Study

DRAWS = 4
"""Random points of the initial design of which the cheapest is taken."""

CANDIDATES = 64
"""Points drawn from the good ones' density; Optuna's 24 leave little of a small space that was not tried."""

_TRIES = 8
_PRIOR = 0.3
_NEVER = 1e6

Space = Mapping[str, BaseDistribution]
Cost = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Log seconds of encoded points."""


class FrugalTPE(TPESampler):
    """The sampler.

    Args:
        seed: the only source of randomness.
        startup: trials of the initial design.
        seconds: of a whole trial with such parameters, by a finished one; None where it is not known.
    """

    def __init__(self, seed: int | None, startup: int, seconds: Callable[[FrozenTrial], float | None]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(seed=seed, n_startup_trials=startup, n_ei_candidates=CANDIDATES, multivariate=True)
        self._startup, self._seconds = startup, seconds
        self._design = RandomSampler(seed)
        self._tried: set[tuple[Any, ...]] = set()
        self._space: dict[str, BaseDistribution] = {}

    def reseed_rng(self) -> None:
        """Draw other numbers than a copy of this sampler."""
        super().reseed_rng()
        self._design.reseed_rng()

    def _sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        told = [
            other for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING))
            if other.number != trial.number and search_space.keys() <= other.params.keys()
        ]  # fmt: skip
        finished = [other for other in told if other.state.is_finished()]
        self._space = search_space
        self._tried = {_key(other.params, search_space) for other in told}
        if len(finished) < self._startup:
            return self._designed(study, trial, search_space, cost_model(finished, search_space, self._seconds))
        found: dict[str, Any] = {}
        for _ in range(_TRIES):
            found = super()._sample_relative(study, trial, search_space)
            if _key(found, search_space) not in self._tried:
                return found
        # what looks good has all been tried: look elsewhere
        return self._designed(study, trial, search_space, None)

    def _designed(self, study: Study, trial: FrozenTrial, space: Space, cost: Cost | None) -> dict[str, Any]:
        points: list[dict[str, Any]] = []
        drawn: dict[str, Any] = {}
        for _ in range(DRAWS * _TRIES):
            drawn = {name: self._design.sample_independent(study, trial, name, of) for name, of in space.items()}
            if _key(drawn, space) not in self._tried:
                points.append(drawn)
            if len(points) == DRAWS:
                break
        if not points:
            return drawn
        return points[-1] if cost is None else points[int(np.argmin(cost(_encoded(points, space))))]

    def _compute_acquisition_func(
        self, samples: dict[str, NDArray[np.float64]], mpe_below: Any, mpe_above: Any
    ) -> NDArray[np.float64]:
        """Optuna's, and what was tried comes last."""
        ratio: NDArray[np.float64] = super()._compute_acquisition_func(samples, mpe_below, mpe_above)
        if samples.keys() != self._space.keys():
            return ratio
        outside = {
            name: [of.to_external_repr(float(value)) for value in samples[name]] for name, of in self._space.items()
        }
        seen = np.array([point in self._tried for point in zip(*outside.values(), strict=True)])
        return np.asarray(ratio - _NEVER * seen, dtype=np.float64)


def cost_model(
    trials: Sequence[FrozenTrial], space: Space, seconds: Callable[[FrozenTrial], float | None]
) -> Cost | None:
    """The log seconds of points by finished trials: ridge regression on the encoded parameters; None with fewer than two trials."""
    known = [(trial.params, spent) for trial in trials if (spent := seconds(trial)) is not None and spent > 0.0]
    if len(known) < 2:
        return None
    rows = _encoded([params for params, _ in known], space)
    logs = np.log([spent for _, spent in known])
    middle, mean = rows.mean(axis=0), float(logs.mean())
    centred = rows - middle
    slopes = np.linalg.solve(centred.T @ centred + _PRIOR * np.eye(rows.shape[1]), centred.T @ (logs - mean))
    return lambda points: np.asarray(mean + (points - middle) @ slopes, dtype=np.float64)


def _encoded(points: Sequence[Mapping[str, Any]], space: Space) -> NDArray[np.float64]:
    """Points as rows: numbers from 0 to 1 along their range (in the logarithm where it is searched so), choices one-hot."""
    columns: list[list[float]] = []
    for name, of in space.items():
        values = [point[name] for point in points]
        if isinstance(of, CategoricalDistribution):
            columns += [[float(value == choice) for value in values] for choice in of.choices]
        elif isinstance(of, FloatDistribution | IntDistribution):
            scale: Callable[[float], float] = math.log if of.log else float
            low, width = scale(of.low), max(scale(of.high) - scale(of.low), 1e-12)
            columns.append([(scale(value) - low) / width for value in values])
    return np.asarray(columns, dtype=np.float64).T.reshape(len(points), -1)


def _key(params: Mapping[str, Any], space: Space) -> tuple[Any, ...]:
    return tuple(params[name] for name in space)
