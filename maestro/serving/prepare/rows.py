"""The rows on which a fast path is held against the original: the recorded example, random rows inside the contract, and rows at its edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maestro.core.contract import Feature, ModelContract
from maestro.serving.table import Batch, Matrix

RANDOM_ROWS = 1024
BOUNDARY_ROWS = 1024
PAIRS = 96
_BISECTIONS = 62
UNKNOWN_TEXT = "\N{REPLACEMENT CHARACTER}unknown"

Ask = Callable[[Batch], NDArray[Any]]
"""Answers as an array, a row (or a number) a row."""


def random_rows(
    contract: ModelContract, texts: Mapping[str, Sequence[str]], rng: np.random.Generator, count: int
) -> Batch:
    """Rows inside the contract: inside the ranges, at their ends, missing where that is allowed, and beyond the ranges where the contract accepts it."""
    return batch_of(
        contract,
        [_column(feature, contract, texts.get(feature.name, ()), rng, count) for feature in contract.features],
    )


def batch_of(contract: ModelContract, columns: Sequence[NDArray[Any]]) -> Batch:
    """Columns in the contract's order as a batch."""
    types = tuple(feature.type for feature in contract.features)
    size = len(columns[0])
    if "string" in types:
        return Batch(contract.names, types, size, None, tuple(columns))
    return Batch(contract.names, types, size, np.ascontiguousarray(np.column_stack(columns), dtype=np.float64))


def joined(contract: ModelContract, batches: Sequence[Batch]) -> Batch:
    """The rows of several batches one after the other."""
    width = len(contract.features)
    return batch_of(contract, [np.concatenate([batch.column(i) for batch in batches]) for i in range(width)])


def example_rows(contract: ModelContract, example: Sequence[Sequence[Any]]) -> Batch | None:
    """The recorded example, when every value of it is of its feature's type."""
    from maestro.core.errors import BadInput
    from maestro.serving.contract import Validator
    from maestro.serving.table import Table

    integers = {i for i, feature in enumerate(contract.features) if feature.type == "bool"}
    rows = [[bool(v) if i in integers and v in (0, 1) else v for i, v in enumerate(row)] for row in example]
    if not rows:
        return None
    try:
        return Validator(contract).validate(Table(rows=rows))
    except BadInput:
        return None


def unknown_texts(contract: ModelContract, base: Batch) -> Batch | None:
    """A row a text feature whose value nobody has seen; None without text features."""
    texts = [i for i, feature in enumerate(contract.features) if feature.type == "string"]
    if not texts:
        return None
    columns = [base.column(i)[: len(texts)].copy() for i in range(len(contract.features))]
    for row, feature in enumerate(texts):
        columns[feature][row] = UNKNOWN_TEXT
    return batch_of(contract, columns)


def threshold_rows(
    contract: ModelContract, base: Batch, boundaries: Mapping[int, NDArray[np.float64]], rng: np.random.Generator
) -> Batch | None:
    """Random rows of which one value each stands at a threshold of a tree or next to it."""
    places = [(feature, value) for feature, values in sorted(boundaries.items()) for value in values.tolist()]
    places = [place for place in places if _may_be(contract.features[place[0]], contract, place[1])]
    if not places:
        return None
    chosen = rng.choice(len(places), size=min(BOUNDARY_ROWS, len(places)), replace=False)
    index = rng.integers(0, base.size, len(chosen))
    columns = [base.column(i)[index].copy() for i in range(len(contract.features))]
    for row, place in enumerate(chosen.tolist()):
        feature, value = places[place]
        columns[feature][row] = value
    return batch_of(contract, columns)


def bisected_rows(contract: ModelContract, base: Batch, ask: Ask, rng: np.random.Generator) -> Batch | None:
    """Rows at edges that nobody told: between two rows that differ in one number and in their answer, the two neighbouring doubles where the answer changes.

    Finds the thresholds of any model, through whatever stands before it.
    """
    numbers = [i for i, feature in enumerate(contract.features) if feature.type == "float64"]
    if not numbers:
        return None
    width = len(contract.features)
    at = rng.integers(0, base.size, PAIRS)
    other = rng.integers(0, base.size, PAIRS)
    feature = rng.choice(numbers, PAIRS)
    columns = [base.column(i)[at].copy() for i in range(width)]
    picks = np.arange(PAIRS)
    low = np.array([columns[j][row] for row, j in zip(picks, feature, strict=True)], dtype=np.float64)
    high = np.array([base.column(j)[row] for row, j in zip(other, feature, strict=True)], dtype=np.float64)

    def rows_with(values: Matrix) -> Batch:
        changed = [column.copy() for column in columns]
        for row, (j, value) in enumerate(zip(feature, values, strict=True)):
            changed[j][row] = value
        return batch_of(contract, changed)

    first, last = ask(rows_with(low)), ask(rows_with(high))
    differs = _differ(first, last) & np.isfinite(low) & np.isfinite(high)
    if not differs.any():
        return None
    for _ in range(_BISECTIONS):
        middle = low + (high - low) / 2
        if ((middle == low) | (middle == high) | ~differs).all():
            break
        beyond = _differ(first, ask(rows_with(middle)))
        high = np.where(differs & beyond, middle, high)
        low = np.where(differs & ~beyond, middle, low)
    sides = [rows_with(np.where(differs, side, low)) for side in (low, high)]
    return joined(contract, sides)


def _differ(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    return np.array([bool(np.any(a != b)) for a, b in zip(one, other, strict=True)])


def _column(
    feature: Feature, contract: ModelContract, texts: Sequence[str], rng: np.random.Generator, count: int
) -> NDArray[Any]:
    if feature.type == "string":
        known = [*texts] or ["a", "b"]
        values = np.array(rng.choice(np.array(known, dtype=object), count), dtype=object)
        if feature.nullable:
            values[rng.random(count) < 0.05] = None
        return values
    if feature.type == "bool":
        numbers = rng.integers(0, 2, count).astype(np.float64)
    else:
        low, high = _range(feature)
        numbers = rng.uniform(low, high, count)
        ends = rng.random(count)
        numbers[ends < 0.02] = low
        numbers[ends > 0.98] = high
        if contract.on_out_of_range == "accept_and_count":
            beyond = rng.random(count) < 0.05
            numbers[beyond] = rng.uniform(low - (high - low), high + (high - low), int(beyond.sum()))
        if feature.type == "int64":
            numbers = np.clip(np.round(numbers), np.ceil(low), np.floor(high))
    if feature.nullable:
        numbers[rng.random(count) < 0.05] = np.nan
    return numbers


def _range(feature: Feature) -> tuple[float, float]:
    low = feature.min if feature.min is not None else (feature.max - 1.0 if feature.max is not None else -3.0)
    high = feature.max if feature.max is not None else max(low + 1.0, 3.0)
    return low, high


def _may_be(feature: Feature, contract: ModelContract, value: float) -> bool:
    if feature.type == "bool" or (feature.type == "int64" and not value.is_integer()):
        return False
    if contract.on_out_of_range == "accept_and_count":
        return True
    return (feature.min is None or value >= feature.min) and (feature.max is None or value <= feature.max)
