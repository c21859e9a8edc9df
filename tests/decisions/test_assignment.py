"""Sticky assignment: exact bytes, nested arms, shares that hold."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.core.errors import BadInput
from maestro.core.graph import Arm
from maestro.decisions.assignment import arm_of, assign, bucket, split_accuracy


def pair(weight: int) -> list[Arm]:
    return [Arm(node="champion", weight=10_000 - weight), Arm(node="challenger", weight=weight)]


@given(salt=st.text(), key=st.text())
def test_a_bucket_is_the_whole_digest_modulo_ten_thousand(salt: str, key: str) -> None:
    digest = hashlib.sha256((salt + key).encode("utf-8")).hexdigest()
    assert bucket(salt, key) == int(digest, 16) % 10_000


@pytest.mark.shows("F2", env="laptop")
@given(key=st.text(), low=st.integers(0, 10_000), high=st.integers(0, 10_000))
def test_a_unit_inside_stays_inside_as_the_weight_grows(key: str, low: int, high: int) -> None:
    low, high = sorted((low, high))
    if assign(pair(low), "salt", key) == "challenger":
        assert assign(pair(high), "salt", key) == "challenger"


def test_the_last_arm_owns_the_first_buckets_and_grows_from_there() -> None:
    three = [Arm(node="a", weight=8000), Arm(node="b", weight=1000), Arm(node="c", weight=1000)]
    assert [arm_of(three, number) for number in (0, 999, 1000, 1999, 2000, 9999)] == ["c", "c", "b", "b", "a", "a"]


def test_arms_own_exactly_their_weight() -> None:
    arms = [Arm(node="a", weight=5000), Arm(node="b", weight=3333), Arm(node="c", weight=1667)]
    owners = [arm_of(arms, number) for number in range(10_000)]
    assert {node: owners.count(node) for node in "abc"} == {"a": 5000, "b": 3333, "c": 1667}


@pytest.mark.shows("H3", env="laptop")
@pytest.mark.parametrize("weight", [100, 1000, 5000])
def test_real_keys_split_as_set(weight: int) -> None:
    units = 60_000
    inside = sum(assign(pair(weight), "m-2026-11", f"user-{number}") == "challenger" for number in range(units))
    share = weight / 10_000
    assert abs(inside - units * share) <= 4 * np.sqrt(units * share * (1 - share))


def test_another_salt_is_another_split() -> None:
    keys = [str(number) for number in range(4000)]
    same = np.mean([assign(pair(5000), "one", key) == assign(pair(5000), "two", key) for key in keys])
    assert 0.45 < same < 0.55


def test_weights_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(BadInput, match="10,000"):
        assign([Arm(node="a", weight=9000)], "s", "k")
    with pytest.raises(BadInput, match="bucket"):
        arm_of(pair(100), 10_000)


@pytest.mark.parametrize(
    ("units", "total", "share", "verdict"),
    [
        (100, 3599, 0.5, "too_few"),
        (1800, 3600, 0.5, "accurate"),
        (1700, 3600, 0.5, "inaccurate"),
        (0, 0, 0.1, "too_few"),
    ],
)
def test_accuracy_is_judged_once_chance_is_small(units: int, total: int, share: float, verdict: str) -> None:
    assert split_accuracy(units, total, share).verdict == verdict


@given(share=st.floats(0.01, 1.0), seed=st.integers(0, 1000))
def test_a_true_split_is_accurate_from_the_needed_units_on(share: float, seed: int) -> None:
    """Three standard deviations: wrong once in 370, four never in these draws."""
    needed = split_accuracy(0, 0, share).needed
    total = 2 * needed + 1
    units = int(np.random.default_rng(seed).binomial(total, share))
    assert split_accuracy(units, total, share).verdict == "accurate"


@pytest.mark.parametrize(("units", "total", "share"), [(2, 1, 0.5), (-1, 1, 0.5), (1, 2, 0.0), (1, 2, 1.5)])
def test_counts_that_cannot_be_are_refused(units: int, total: int, share: float) -> None:
    with pytest.raises(BadInput):
        split_accuracy(units, total, share)
