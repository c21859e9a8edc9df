"""Ending a search: it saves trials, loses next to nothing, and never ends one that is still gaining."""

from __future__ import annotations

import numpy as np
import pytest

from maestro.core.errors import BadInput
from maestro.decisions.search_stopping import StoppingRule, expected_gain, should_stop


@pytest.mark.shows("C5", env="laptop")
def test_the_expected_gain_is_of_the_right_size() -> None:
    """Independent trials with an exponential tail: the mean gain of one more trial is s / (n + 1)."""
    rng = np.random.default_rng(1)
    for n in (16, 30):
        draws = rng.exponential(1.0, (4000, n + 1))
        true = float(np.maximum(draws[:, n] - draws[:, :n].max(axis=1), 0.0).mean())
        said = float(np.mean([expected_gain(row[:n].tolist(), n) for row in draws]))
        assert true == pytest.approx(1.0 / (n + 1), rel=0.25)
        assert 0.5 * true < said < 2.0 * true


@pytest.mark.shows("C5", env="laptop")
def test_a_search_that_has_run_dry_ends_early_and_gives_up_less_than_it_saves() -> None:
    rng = np.random.default_rng(2)
    rule = StoppingRule(value_per_point=100_000)
    saved, lost = [], []
    for _ in range(200):
        scores = (0.95 - 0.1 * rng.random(100) ** 0.5 * np.exp(-np.arange(100) / 10)).tolist()
        costs = [10_000] * 100
        end = next(
            (n for n in range(1, 101) if should_stop(scores[:n], costs[:n], rule, trials_left=100 - n).stop), 100
        )
        saved.append((100 - end) * 10_000)
        lost.append((max(scores) - max(scores[:end])) * 100 * rule.value_per_point)
    # In money: what is given up is worth a small part of what is not spent.
    assert np.mean(saved) > 0.4 * 1_000_000
    assert np.mean(lost) < 0.2 * np.mean(saved)


@pytest.mark.shows("C5", env="laptop")
def test_a_search_that_still_gains_goes_on() -> None:
    scores = [0.5 + 0.01 * i for i in range(40)]
    assert not should_stop(scores, [10_000] * 40, StoppingRule(value_per_point=100_000), trials_left=10).stop
    assert should_stop(scores, [10_000] * 40, StoppingRule(value_per_point=0), trials_left=10).stop


def test_the_minimum_holds_and_saving_is_what_is_not_run() -> None:
    rule = StoppingRule(value_per_point=1, min_trials=12)
    flat = [0.9] * 20
    assert not should_stop(flat[:11], [7] * 11, rule, trials_left=9).stop
    verdict = should_stop(flat, [7] * 20, rule, trials_left=9)
    assert (verdict.stop, verdict.saved, verdict.next_cost) == (True, 63, 7)
    assert "less than its cost" in verdict.reason


def test_bad_input_is_refused() -> None:
    rule = StoppingRule(value_per_point=1)
    with pytest.raises(BadInput):
        should_stop([0.1], [], rule, trials_left=1)
    with pytest.raises(BadInput):
        should_stop([float("nan")], [1], rule, trials_left=1)
    with pytest.raises(BadInput):
        StoppingRule(value_per_point=1, patience=0)
