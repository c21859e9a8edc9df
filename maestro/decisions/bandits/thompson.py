"""Thompson sampling for rewards from 0 to 1 (Thompson 1933; Chapelle and Li, "An empirical evaluation of Thompson sampling", NIPS 2011)."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import numpy as np

from maestro.core.errors import BadInput
from maestro.decisions.bandits._base import Floats
from maestro.decisions.bandits.floor import floored
from maestro.decisions.bandits.snapshot import PolicyName, Snapshot
from maestro.decisions.bandits.tally import TallyPolicy

_QUANTILES = np.array([0.0, 1e-9, 1e-6, 1e-4, 0.001, 0.01, 0.05, *np.linspace(0.1, 0.9, 17)])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)


class ThompsonPolicy(TallyPolicy):
    """Chooses each arm with the posterior probability that it is the best, under independent Beta(1, 1) priors.

    Sampling every arm's posterior and taking the highest chooses with just these probabilities; here they are integrated instead of sampled, so that the
    propensity in the log is exact. A reward between 0 and 1 counts as that share of a success.

    >>> policy = ThompsonPolicy()
    >>> snapshot = policy.learn(policy.start("e", ["a", "b"]), np.array([0, 1, 1]), np.array([0.0, 1.0, 1.0]))
    >>> policy.scorer(snapshot).score(1, None)[0].round(4).tolist()
    [[0.108, 0.892]]
    """

    name: ClassVar[PolicyName] = "thompson"

    def scorer(self, snapshot: Snapshot) -> ThompsonScorer:
        """Ready for use."""
        return ThompsonScorer(snapshot)


class ThompsonScorer:
    """The posterior of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        won = np.array([state.reward for state in snapshot.arms])
        lost = np.array([state.count for state in snapshot.arms]) - won
        a, b = 1.0 + won, 1.0 + np.maximum(lost, 0.0)
        self._propensity = floored(np.array([best_probability(tuple(a.tolist()), tuple(b.tolist()))]), snapshot.epsilon)
        self._mean = (a / (a + b))[None, :]

    def score(self, units: int, context: Floats | None) -> tuple[Floats, Floats]:
        """The same for every unit; the values are posterior means."""
        return np.repeat(self._propensity, units, axis=0), np.repeat(self._mean, units, axis=0)


@lru_cache(maxsize=256)
def best_probability(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
    """The probability of each of several independent Beta(a, b) values to be the greatest; a, b ≥ 1.

    Gauss–Legendre between the quantiles of all of them: below 1e-9 off for counts up to a billion.

    Raises:
        BadInput: fewer than two, or a parameter below 1.
    """
    from scipy import special  # a model server without a Thompson bandit does without it

    if len(a) < 2 or len(a) != len(b) or min(*a, *b) < 1.0:
        raise BadInput("at least two arms, every parameter at least 1", field="arms")
    alphas, betas = np.array(a)[:, None], np.array(b)[:, None]
    levels = np.concatenate([_QUANTILES, 1.0 - _QUANTILES[:7]])
    edges = np.unique(special.betaincinv(alphas, betas, levels[None, :]))
    half = np.diff(edges) / 2
    x = ((edges[:-1] + half)[:, None] + half[:, None] * _NODES).ravel()
    weights = (half[:, None] * _WEIGHTS).ravel()
    below = special.betainc(alphas, betas, x[None, :])
    with np.errstate(divide="ignore"):
        log_density = special.xlogy(alphas - 1, x) + special.xlog1py(betas - 1, -x) - special.betaln(alphas, betas)
    density = np.exp(log_density)
    result = np.array(
        [float((weights * density[k] * np.prod(np.delete(below, k, axis=0), axis=0)).sum()) for k in range(len(a))]
    )
    return tuple((result / result.sum()).tolist())
