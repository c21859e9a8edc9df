"""Random numbers by counter: the number of a unit depends on experiment, snapshot and unit and on nothing drawn before.

Philox 4×64 with ten rounds (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011), as NumPy has it: key = the first 16 bytes of
SHA-256 of the canonical JSON `[experiment, snapshot]`, counter = SHA-256 of the unit's UTF-8 bytes, both little-endian. One unit is drawn by NumPy's own
generator; many at once by the same rounds over arrays, bit for bit the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maestro.core.canonical import canonical_bytes

Words = NDArray[np.uint64]

_M0, _M1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_W0, _W1 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ROUNDS = 10
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_BLOCK = 8192  # rows worked on at once: they stay in the processor's cache
_FEW = 24  # below this NumPy's own generator is quicker


def key_of(experiment: str, snapshot: str) -> Words:
    """The generator's key, two words."""
    return np.frombuffer(hashlib.sha256(canonical_bytes([experiment, snapshot])).digest()[:16], dtype="<u8")


def uniform(key: Words, unit: str) -> float:
    """The unit's number in [0, 1): 53 bits of the first word that its counter gives.

    >>> uniform(key_of("e", "s0"), "user-17") == float(uniforms(key_of("e", "s0"), ["user-17"] * 30)[0])
    True
    """
    return float(_raw(key, unit) >> 11) * 2.0**-53


def uniforms(key: Words, units: Sequence[str]) -> NDArray[np.float64]:
    """The numbers of many units, in their order."""
    if len(units) < _FEW:
        return np.array([uniform(key, unit) for unit in units], dtype=np.float64)
    sha = hashlib.sha256
    counters = np.frombuffer(b"".join([sha(unit.encode()).digest() for unit in units]), dtype="<u8").reshape(-1, 4)
    result = np.empty(len(units), dtype=np.float64)
    for start in range(0, len(units), _BLOCK):
        block = counters[start : start + _BLOCK]
        result[start : start + len(block)] = (_first_words(block, key) >> np.uint64(11)).astype(np.float64)
    return result * 2.0**-53


def _raw(key: Words, unit: str) -> int:
    counter = np.frombuffer(hashlib.sha256(unit.encode()).digest(), dtype="<u8")
    return int(np.random.Philox(key=key, counter=counter).random_raw())


def _first_words(counters: Words, key: Words) -> Words:
    """The first word of the block after each counter: NumPy counts up before it generates."""
    c0, c1, c2, c3 = (np.ascontiguousarray(counters[:, column]) for column in range(4))
    c0 = c0 + np.uint64(1)
    carry = c0 == 0
    for word in (c1, c2, c3):
        if not carry.any():
            break
        word += carry
        carry &= word == 0
    k0, k1 = int(key[0]), int(key[1])
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(_M0, c0)
        high1, low1 = _multiply(_M1, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ np.uint64(k0), low1, high0 ^ c3 ^ np.uint64(k1), low0
        k0, k1 = (k0 + _W0) % 2**64, (k1 + _W1) % 2**64
    return c0


def _multiply(factor: np.uint64, words: Words) -> tuple[Words, Words]:
    """The high and the low word of the 128-bit product."""
    f0, f1 = factor & _LOW, factor >> _HALF
    w0, w1 = words & _LOW, words >> _HALF
    middle = f1 * w0 + ((f0 * w0) >> _HALF)
    other = f0 * w1 + (middle & _LOW)
    high: Words = f1 * w1 + (middle >> _HALF) + (other >> _HALF)
    low: Words = factor * words
    return high, low
