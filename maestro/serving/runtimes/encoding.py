"""From a contract's features to the columns of a forest: numbers as they are, categories by one column each or by their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maestro.core.errors import BadInput
from maestro.serving.runtimes._base import ModelFailed
from maestro.serving.table import Batch, Matrix

Use = Literal["number", "is", "code"]
"""A column holds its feature's number, whether the feature is a category, or the number of the feature's category."""
USES: tuple[Use, ...] = ("number", "is", "code")
Unknown = Literal["refuse", "zeros"] | float
"""A category that training has not seen: an error, no column set, or this number."""


@dataclass(frozen=True)
class Categories:
    """What a feature may be: texts, or numbers in rising order."""

    values: tuple[Any, ...]
    unknown: Unknown


class Encoding:
    """The columns of a forest, in order.

    Args:
        columns: (feature, use, category) a column.
        categories: by feature, for the uses `is` and `code`.
    """

    def __init__(self, columns: Sequence[tuple[int, Use, int]], categories: Mapping[int, Categories]) -> None:
        self.columns = tuple(columns)
        self.categories = dict(categories)
        self._texts: dict[int, dict[str, int]] = {}
        self._numbers: dict[int, NDArray[np.float64]] = {}
        for feature, known in self.categories.items():
            if all(isinstance(value, str) for value in known.values):
                self._texts[feature] = {value: code for code, value in enumerate(known.values)}
            else:
                self._numbers[feature] = np.array(known.values, dtype=np.float64)
        self._plain = [(place, feature) for place, (feature, use, _) in enumerate(columns) if use == "number"]
        self._codes = [(place, feature) for place, (feature, use, _) in enumerate(columns) if use == "code"]
        self._flags: dict[int, NDArray[np.intp]] = {}
        for place, (feature, use, category) in enumerate(columns):
            if use == "is":
                places = self._flags.setdefault(
                    feature, np.full(len(self.categories[feature].values) + 1, -1, dtype=np.intp)
                )
                places[category] = place

    def is_plain(self, features: int) -> bool:
        """Whether the columns are just the features."""
        return [(feature, use) for feature, use, _ in self.columns] == [(i, "number") for i in range(features)]

    def encode(self, batch: Batch) -> Matrix:
        """The columns of a batch, rows × columns.

        Raises:
            ModelFailed: a category is unknown, where the model refuses those.
        """
        found = np.zeros((batch.size, len(self.columns)))
        for place, feature in self._plain:
            found[:, place] = batch.column(feature)
        codes = {feature: self._coded(feature, batch) for feature in self.categories}
        for place, feature in self._codes:
            unknown = self.categories[feature].unknown
            found[:, place] = np.where(codes[feature] < 0, unknown if isinstance(unknown, float) else 0, codes[feature])
        rows = np.arange(batch.size)
        for feature, places in self._flags.items():
            target = places[codes[feature]]  # an unknown category has the code -1, whose place is the last: none
            hit = target >= 0
            found[rows[hit], target[hit]] = 1.0
        return found

    def _coded(self, feature: int, batch: Batch) -> NDArray[np.intp]:
        column = batch.column(feature)
        if feature in self._texts:
            known = self._texts[feature]
            codes = np.array([known.get(value, -1) for value in column.tolist()], dtype=np.intp)
        else:
            values = self._numbers[feature]
            codes = np.searchsorted(values, column).clip(0, len(values) - 1)
            codes[values[codes] != column] = -1
        if self.categories[feature].unknown == "refuse" and (codes < 0).any():
            value = column[int((codes < 0).argmax())]
            raise ModelFailed(
                f"column {batch.names[feature]!r}: the model does not know the category {str(value)[:80]!r}",
                remedy="send a category that training has seen",
            )
        return codes

    def document(self) -> dict[str, Any]:
        """As plain values; `read` reads them."""
        return {
            "columns": [list(column) for column in self.columns],
            "categories": [[feature, list(item.values), item.unknown] for feature, item in self.categories.items()],
        }


def read(document: Any, features: int) -> Encoding:
    """An encoding whose every index is checked.

    Raises:
        BadInput: it is none, or names a feature or category that there is not.
    """
    try:
        columns = [(int(feature), use, int(category)) for feature, use, category in document["columns"]]
        categories = {
            int(feature): Categories(tuple(values), unknown if unknown in ("refuse", "zeros") else float(unknown))
            for feature, values, unknown in document["categories"]
        }
        good = all(
            0 <= feature < features
            and use in USES
            and (use == "number" or 0 <= category < len(categories[feature].values))
            for feature, use, category in columns
        ) and all(0 <= feature < features and _one_kind(item.values) for feature, item in categories.items())
        if not good:
            raise ValueError("a column names a feature or category that there is not")
        return Encoding(columns, categories)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise BadInput(f"encoding: {error}", field="encoding", remedy="prepare the version again") from None


def _one_kind(values: tuple[Any, ...]) -> bool:
    if not values:
        return False
    if all(isinstance(value, str) for value in values):
        return True
    return all(isinstance(value, int | float) for value in values) and list(values) == sorted(values)
