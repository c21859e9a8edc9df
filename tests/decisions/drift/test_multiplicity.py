"""Corrections for many columns."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from maestro.decisions.drift.multiplicity import benjamini_hochberg, simes


@pytest.mark.shows("I2", env="laptop")
def test_it_is_scipys_adjustment() -> None:
    p = np.random.default_rng(1).random(40) ** 3
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


def test_simes_has_its_level_for_independent_columns() -> None:
    p = np.random.default_rng(2).random((20_000, 10))
    assert np.mean([simes(row) <= 0.05 for row in p]) == pytest.approx(0.05, abs=0.006)
    assert simes([]) == 1.0
