"""Numbers by counter: NumPy's own Philox, one unit or many."""

from __future__ import annotations

import hashlib

import numpy as np
from scipy import stats

from maestro.decisions.bandits.draws import _first_words, key_of, uniform, uniforms


def test_many_are_bit_for_bit_numpys_own() -> None:
    key = key_of("spring", "sha256:" + "0" * 64)
    names = [f"unit-{number}" for number in range(2000)]
    many = uniforms(key, names)
    for row in range(0, 2000, 37):
        counter = np.frombuffer(hashlib.sha256(names[row].encode()).digest(), dtype="<u8")
        drawn = np.random.Generator(np.random.Philox(key=key, counter=counter)).random()
        assert many[row] == drawn == uniform(key, names[row])


def test_the_counter_carries_as_numpys_does() -> None:
    top = 2**64 - 1
    counters = np.array([[top, 5, 6, 7], [top, top, 1, 2], [top, top, top, top], [0, 0, 0, 0]], dtype=np.uint64)
    key = key_of("e", "s")
    words = _first_words(counters, key)
    for row, counter in enumerate(counters):
        assert int(words[row]) == int(np.random.Philox(key=key, counter=counter).random_raw())


def test_they_are_uniform_and_unrelated_between_snapshots() -> None:
    names = [f"unit-{number}" for number in range(20_000)]
    one, two = (uniforms(key_of("e", snapshot), names) for snapshot in ("s1", "s2"))
    assert stats.kstest(one, "uniform").pvalue > 0.001
    assert abs(float(np.corrcoef(one, two)[0, 1])) < 0.03


def test_a_pair_of_names_is_not_another_pair_joined_otherwise() -> None:
    assert key_of("ab", "c").tolist() != key_of("a", "bc").tolist()


def test_the_numbers_never_change() -> None:
    key = key_of("spring", "s0")
    assert [uniform(key, unit) for unit in ("a", "b", "user-17")] == PINNED


PINNED = [0.18519600261941138, 0.4348560850000265, 0.5919021577036895]
