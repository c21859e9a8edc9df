"""Data quality: missing values, outliers, unknown categories."""

from __future__ import annotations

import numpy as np
import pytest

from maestro.core.errors import BadInput
from maestro.decisions.drift import judge_quality, profile

RNG = np.random.default_rng(1)
BASE = profile({"age": RNG.normal(50.0, 10.0, 5000), "city": RNG.choice(["a", "b", "c"], 5000)})


@pytest.mark.shows("A11", env="laptop")
def test_each_kind_of_trouble_is_named() -> None:
    rng = np.random.default_rng(2)
    age = rng.normal(50.0, 10.0, 2000)
    age[:100] = np.nan
    age[100:200] = 999.0
    city = rng.choice(["a", "b", "c"], 2000).astype(object)
    city[:80] = "zz"
    report = judge_quality(BASE, {"age": age, "city": city, "extra": city})
    assert [(i.column, i.check) for i in report.issues] == [
        ("age", "missing"),
        ("age", "outliers"),
        ("city", "new_categories"),
    ]
    assert report.issues[1].examples == ("999",)
    assert report.issues[2].examples == ("zz",)
    assert report.unknown_columns == ("extra",)
    assert not report.clean


@pytest.mark.shows("A11", env="laptop")
def test_clean_data_and_immaterial_changes_are_silent() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        age = rng.normal(50.0, 10.0, 2000)
        age[:10] = np.nan  # half a percent
        assert judge_quality(BASE, {"age": age, "city": rng.choice(["a", "b", "c"], 2000)}).clean


@pytest.mark.shows("A11", env="laptop")
def test_a_column_that_is_gone_is_reported() -> None:
    report = judge_quality(BASE, {"age": [50.0]})
    assert report.absent_columns == ("city",)
    assert not report.clean


def test_text_in_a_numeric_column_is_refused() -> None:
    with pytest.raises(BadInput, match="age"):
        judge_quality(BASE, {"age": ["old"]})
    with pytest.raises(BadInput):
        judge_quality(BASE, {"age": [1.0]}, material=2.0)


def test_a_column_that_is_all_missing() -> None:
    report = judge_quality(BASE, {"age": [None] * 500, "city": ["a"] * 500})
    assert [i.check for i in report.issues] == ["missing"]
