"""Rows as a caller sent them, and rows as a model takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(slots=True)
class Table:
    """What a caller sent, not yet held against a contract.

    Exactly one form: `matrix` (numbers that are already parsed, shape rows × columns), `records` (a mapping a row) or `rows` (a sequence a
    row). `names` are the columns of `matrix` and `rows`; without it they are positional. `where` is the request member that errors name.
    With `text` the values are text that stands for a value of the feature's type, nothing standing for a missing value (CSV).
    """

    matrix: Matrix | None = None
    rows: Sequence[Sequence[Any]] | None = None
    records: Sequence[Mapping[str, Any]] | None = None
    names: tuple[str, ...] | None = None
    where: str = "instances"
    text: bool = False

    def __len__(self) -> int:
        for form in (self.matrix, self.rows, self.records):
            if form is not None:
                return len(form)
        return 0

    def take(self, index: Sequence[int]) -> Table:
        """The rows at `index`, in that order."""
        return Table(
            matrix=None if self.matrix is None else self.matrix[list(index)],
            rows=None if self.rows is None else [self.rows[i] for i in index],
            records=None if self.records is None else [self.records[i] for i in index],
            names=self.names,
            where=self.where,
            text=self.text,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that satisfy a contract, columns in the contract's order.

    `matrix` (float64, rows × features, missing is NaN, booleans 0 and 1) when no feature is a string; else `columns`, one array a feature
    (float64 for numbers, object for strings, missing is NaN or None).
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    size: int
    matrix: Matrix | None
    columns: tuple[NDArray[Any], ...] | None = None

    def column(self, index: int) -> NDArray[Any]:
        """One feature's values."""
        if self.matrix is not None:
            return self.matrix[:, index]
        assert self.columns is not None  # noqa: S101 - a batch has one form
        return self.columns[index]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One JSON value a row, and the class scores (rows × classes) when the model gives them."""

    values: list[Any]
    scores: Matrix | None = None

    def take(self, row: int) -> Any:
        """The value of one row."""
        return self.values[row]
