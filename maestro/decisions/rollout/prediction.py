"""The predicted sample of a rollout: what 80 % of rollouts need at most, under a named alternative."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from maestro.core.errors import BadInput
from maestro.core.model import Model
from maestro.core.policy import MetricPolicy, RolloutPolicy
from maestro.decisions.rollout.simulation import PROMOTED, ROLLED_BACK, UNDECIDED, Indices, simulate
from maestro.decisions.sequential.hypotheses import Floats

COVERED = 0.8
"""The share of rollouts that end within the prediction."""

_SAFETY = 3.09
"""Standard deviations: the normal quantile of 0.999."""


class TrafficRates(Model):
    """The traffic that a prediction assumes, steady and independent."""

    requests_per_s: float = Field(gt=0)
    labelled_per_s: float | None = Field(
        default=None, gt=0, description="distinct units labelled; default every request"
    )
    look_s: int = Field(default=1, ge=1, description="whole seconds from look to look")
    max_looks: int = Field(default=1000, ge=1, le=20_000)


class RungPrediction(Model):
    """What has been used up when a rung is left, counted from the start of the rollout."""

    weight: int
    requests: int | None = Field(description="None: fewer than 80 % of rollouts get there")
    seconds: int | None
    events: dict[str, int] = Field(
        description="the challenger's events by metric, without metrics of which the same holds"
    )


class Prediction(Model):
    """The predicted sample, by rung; the last is that of the whole rollout."""

    rungs: tuple[RungPrediction, ...]
    alternative: dict[str, tuple[float, float]] = Field(description="by metric: champion's and challenger's rate")
    promoted: float = Field(description="share of simulated rollouts")
    rolled_back: float = Field(description="share of simulated rollouts")
    ends_within: int | None = Field(description="requests until promoted or rolled back; None as above")

    @property
    def requests(self) -> int | None:
        """Requests of the whole rollout."""
        return self.rungs[-1].requests

    def by_rung(self) -> tuple[dict[str, int], ...]:
        """As `start(predicted=...)` takes it."""
        return tuple(rung.events for rung in self.rungs)


def predict(
    policy: RolloutPolicy,
    rates: Mapping[str, float | tuple[float, float]],
    traffic: TrafficRates,
    *,
    rollouts: int = 1000,
    seed: int = 2026,
) -> Prediction:
    """Simulate the policy under a named alternative.

    Args:
        policy: the rules.
        rates: by metric the rate of bad events: one number for both arms, or (champion's, challenger's).
        traffic: how fast evidence comes.
        rollouts: simulated rollouts. The quantile is an upper bound of the 80th percentile with confidence 0.999, so that
            simulating again finds at least 80 % within it.
        seed: of the simulation.

    Raises:
        BadInput: a metric of the policy has no rate, or a rate is outside [0, 1].

    >>> policy = RolloutPolicy.model_validate({
    ...     "apiVersion": "maestro/v1", "kind": "RolloutPolicy", "metadata": {"name": "one"}, "alpha": 0.05,
    ...     "rungs": [{"weight": 10, "margin_factor": 3}, {"weight": 50}, {"weight": 100, "bake": "5s"}],
    ...     "metrics": [{"name": "errors", "bad": "error", "margin": 0.02}],
    ...     "budget": {"requests": 200000, "duration": "1h"}})
    >>> prediction = predict(policy, {"errors": 0.0}, TrafficRates(requests_per_s=100), rollouts=200)
    >>> [(rung.weight, rung.requests, rung.events["errors"]) for rung in prediction.rungs]
    [(10, 800, 76), (50, 1100, 232), (100, 1600, 744)]
    """
    alternative = {metric.name: _pair(metric, rates) for metric in policy.metrics}
    bake = policy.rungs[-1].bake
    bake_looks = max(1, int(np.ceil(bake.total_seconds() / traffic.look_s))) if bake is not None else 1
    budget = min(
        policy.budget.duration.total_seconds() / traffic.look_s,
        policy.budget.requests / (traffic.requests_per_s * traffic.look_s),
    )
    outcomes = simulate(
        policy,
        SteadyTraffic(policy, alternative, traffic),
        rollouts=rollouts,
        looks=min(traffic.max_looks, max(1, int(np.ceil(budget)))),
        bake_looks=bake_looks,
        seed=seed,
    )
    ended = np.where(outcomes.verdict == UNDECIDED, np.inf, outcomes.looks)
    order = min(rollouts - 1, int(COVERED * rollouts + _SAFETY * np.sqrt(COVERED * (1 - COVERED) * rollouts)))
    requests_a_look = traffic.requests_per_s * traffic.look_s
    end = np.sort(ended)[order]
    rungs = []
    for index, rung in enumerate(policy.rungs):
        looks = np.sort(outcomes.left[:, index])[order]
        events = {
            metric.name: np.sort(outcomes.events[:, index, column])[order]
            for column, metric in enumerate(policy.metrics)
        }
        seconds = int(looks) * traffic.look_s if np.isfinite(looks) else None
        rungs.append(
            RungPrediction(
                weight=rung.weight,
                requests=None if seconds is None else int(np.ceil(seconds * traffic.requests_per_s)),
                seconds=seconds,
                events={name: int(value) for name, value in events.items() if np.isfinite(value)},
            )
        )
    return Prediction(
        rungs=tuple(rungs),
        alternative=alternative,
        promoted=float(np.mean(outcomes.verdict == PROMOTED)),
        rolled_back=float(np.mean(outcomes.verdict == ROLLED_BACK)),
        ends_within=int(np.ceil(end * requests_a_look)) if np.isfinite(end) else None,
    )


class SteadyTraffic:
    """Constant rates, events independent of each other; labels begin `label_wait` after a rung was entered."""

    def __init__(self, policy: RolloutPolicy, rates: Mapping[str, tuple[float, float]], traffic: TrafficRates) -> None:
        self._metrics = policy.metrics
        self._rates = rates
        self._traffic = traffic

    def draw(
        self, look: int, share: Floats, rung_look: Indices, which: Indices, rng: np.random.Generator
    ) -> dict[str, Floats]:
        """See `Traffic`."""
        requests = self._traffic.requests_per_s
        arms = [_split(rng, share, requests) for _ in range(self._traffic.look_s)]
        blocks = np.stack([np.stack(pair, -1) for pair in arms], 1)
        drawn: dict[str, Floats] = {}
        for metric in self._metrics:
            champion, challenger = self._rates[metric.name]
            if metric.event == "latency":
                drawn[metric.name] = _counts(rng, blocks, champion, challenger)
                continue
            sizes = blocks.sum(1)
            if metric.event == "wrong":
                wait = metric.label_wait.total_seconds() if metric.label_wait is not None else 0.0
                labelled = self._traffic.labelled_per_s or requests
                sizes = np.stack(_split(rng, share, labelled * self._traffic.look_s), -1)
                sizes = sizes * (rung_look * self._traffic.look_s >= wait)[:, None]
            drawn[metric.name] = _counts(rng, sizes, champion, challenger)
        return drawn


def _split(rng: np.random.Generator, share: Floats, rate: float) -> tuple[Floats, Floats]:
    return rng.poisson(rate * (1 - share)).astype(np.float64), rng.poisson(rate * share).astype(np.float64)


def _counts(rng: np.random.Generator, sizes: Floats, champion: float, challenger: float) -> Floats:
    n = sizes.astype(np.int64)
    bad_a, bad_b = rng.binomial(n[..., 0], champion), rng.binomial(n[..., 1], challenger)
    return np.stack([bad_a, n[..., 0], bad_b, n[..., 1]], -1).astype(np.float64)


def _pair(metric: MetricPolicy, rates: Mapping[str, float | tuple[float, float]]) -> tuple[float, float]:
    if metric.name not in rates:
        raise BadInput(
            f"no rate is given for metric {metric.name}",
            remedy="name a rate for each metric of the policy",
            field="rates",
        )
    given = rates[metric.name]
    pair = given if isinstance(given, tuple) else (given, given)
    if not all(0.0 <= rate <= 1.0 for rate in pair):
        raise BadInput(f"the rates of {metric.name} must lie in [0, 1]", field=f"rates.{metric.name}")
    return pair
