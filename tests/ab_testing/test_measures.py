"""Metrics from exposures: throughput as a ratio, looks of a proportion, strata when weights change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maestro.ab_testing.experiment import ExperimentMetric
from maestro.ab_testing.exposures import Exposures
from maestro.ab_testing.measures import arm_figures, measure
from maestro.core.errors import BadInput
from maestro.decisions.comparison import Means, Proportions


def _data(n: int, seed: int = 1, **changes: object) -> Exposures:
    rng = np.random.default_rng(seed)
    fields: dict[str, object] = {
        "challenger": rng.random(n) < 0.5,
        "at_s": np.arange(n, dtype=float),
        "revision": np.ones(n, dtype=np.int64),
        "propensity": np.full(n, 0.5),
        "latency_s": rng.exponential(0.02, n),
        "error": rng.random(n) < 0.05,
        "reward": (rng.random(n) < 0.8).astype(float),
        "covariate": None,
        "crossed": 0,
        "other_arms": 0,
        "digest": "sha256:" + "0" * 64,
    }
    return Exposures(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.shows("H10", env="laptop")
def test_throughput_is_good_answers_a_busy_second_and_its_interval_covers() -> None:
    metric = ExperimentMetric(name="throughput", minimum_effect=1.0)
    inside = 0
    for seed in range(400):
        form = measure(metric, _data(2000, seed), horizon=2000)
        assert isinstance(form, Means)
        inside += abs(form.difference.z) < 1.96
    assert inside / 400 == pytest.approx(0.95, abs=0.035)
    champion, challenger = arm_figures(metric, _data(50_000))
    assert champion == pytest.approx(0.95 / 0.02, rel=0.02)
    assert challenger == pytest.approx(0.95 / 0.02, rel=0.02)


def test_looks_never_span_a_change_of_revision() -> None:
    data = _data(950, revision=np.repeat([1, 2], [430, 520]))
    form = measure(ExperimentMetric(name="accuracy", minimum_effect=0.1), data, horizon=5000)
    assert isinstance(form, Proportions)
    looks = np.asarray(form.looks)
    assert looks.shape == (11, 4)
    assert looks[:, [1, 3]].sum() == 950
    assert looks[:5, [1, 3]].sum() == 430
    whole = measure(ExperimentMetric(name="accuracy", minimum_effect=0.1), data, horizon=5000, whole_looks=True)
    assert isinstance(whole, Proportions)
    assert np.array_equal(np.asarray(whole.looks), looks[:10])  # the stratum of 20 is still filling


@pytest.mark.shows("H6", env="laptop")
def test_weights_that_change_under_a_trend_deceive_neither_mean_nor_proportion() -> None:
    rng = np.random.default_rng(3)
    n = 6000
    revision = np.repeat([1, 2, 3], n // 3)
    share = np.array([0.1, 0.5, 0.9])[revision - 1]
    challenger = rng.random(n) < share
    data = _data(
        n,
        challenger=challenger,
        revision=revision,
        propensity=np.where(challenger, share, 1 - share),
        latency_s=rng.exponential(0.01, n) + 0.01 * revision,
    )
    mean = measure(ExperimentMetric(name="latency", minimum_effect=0.01, statistic="mean"), data, horizon=5000)
    assert isinstance(mean, Means)
    assert abs(mean.difference.z) < 2.5
    assert abs(float(data.latency_s[challenger].mean() - data.latency_s[~challenger].mean())) > 0.005
    with pytest.raises(BadInput, match="weights changed"):
        measure(ExperimentMetric(name="latency", minimum_effect=0.01), data, horizon=5000)


def test_units_without_a_covariate_are_kept() -> None:
    covariate = np.random.default_rng(1).normal(size=500)
    covariate[:100] = np.nan
    form = measure(ExperimentMetric(name="reward", minimum_effect=0.1), _data(500, covariate=covariate), horizon=500)
    assert isinstance(form, Means)
    assert form.difference.n_champion + form.difference.n_challenger == 500


def test_accuracy_needs_right_or_wrong(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="0 \\(wrong\\)"):
        measure(
            ExperimentMetric(name="accuracy", minimum_effect=0.1), _data(3, reward=np.array([0.0, 0.5, 1.0])), horizon=3
        )


def test_an_arm_without_units_has_no_figures() -> None:
    data = _data(10, challenger=np.zeros(10, dtype=bool))
    for name in ("accuracy", "latency", "throughput", "error_rate"):
        assert arm_figures(ExperimentMetric(name=name, minimum_effect=0.1), data)[1] is None
