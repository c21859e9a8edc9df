"""What current data is compared with: a profile of 1,000 quantiles or the counts of a column, exact or compact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from maestro.core.errors import BadInput
from maestro.core.model import Model

Kind = Literal["numeric", "categorical"]
Floats = NDArray[np.float64]
Values: TypeAlias = ArrayLike | Sequence[object]
"""A column: one value a row, None or NaN where it is missing."""

QUANTILES = 1_000
"""Points of a compact numeric profile."""


class NumericProfile(Model):
    """The distribution function of a numeric column at `points` (rising), exact there.

    `at_or_below[i]` and `below[i]` count values <= and < `points[i]` among `n` finite ones; `missing` counts the others.
    A value is an outlier beyond `fence_low` or `fence_high`: three interquartile ranges outside the quartiles.
    """

    kind: Literal["numeric"] = "numeric"
    n: int = Field(ge=0)
    missing: int = Field(ge=0)
    points: tuple[float, ...]
    at_or_below: tuple[int, ...]
    below: tuple[int, ...]
    fence_low: float
    fence_high: float
    outliers: int = Field(ge=0)


class CategoricalProfile(Model):
    """The counts of a categorical column among `n` rows with a value; `missing` counts the others."""

    kind: Literal["categorical"] = "categorical"
    n: int = Field(ge=0)
    missing: int = Field(ge=0)
    counts: dict[str, int]


ColumnProfile: TypeAlias = Annotated[NumericProfile | CategoricalProfile, Field(discriminator="kind")]


class ReferenceProfile(Model):
    """The profiles of a table's columns, so that its rows need not be read again."""

    schema_: Literal["maestro.drift-profile/1"] = Field(default="maestro.drift-profile/1", alias="schema")
    columns: dict[str, ColumnProfile]


def profile(
    columns: Mapping[str, Values], kinds: Mapping[str, Kind] | None = None, *, exact: bool = False
) -> ReferenceProfile:
    """Profile a table.

    Args:
        columns: name → one value a row.
        kinds: name → numeric or categorical; columns not named get `kind_of` their values.
        exact: keep every distinct value of numeric columns instead of 1,000 quantiles: the comparison is then the exact
            two-sample one. For a reference sample in memory; a stored profile is compact.

    Raises:
        BadInput: a column that is said to be numeric holds something else, or no column is given.

    >>> made = profile({"age": [1.0, 2.0, 2.0, None], "city": ["a", "b", None, "a"]})
    >>> made.columns["age"].points, made.columns["age"].at_or_below, made.columns["city"].counts
    ((1.0, 2.0), (1, 3), {'a': 2, 'b': 1})
    """
    if not columns:
        raise BadInput("the reference has no columns", field="columns", remedy="give at least one column to watch")
    made: dict[str, NumericProfile | CategoricalProfile] = {}
    for name, values in columns.items():
        kind = (kinds or {}).get(name) or kind_of(values)
        made[name] = numeric_profile(name, values, exact=exact) if kind == "numeric" else categorical_profile(values)
    return ReferenceProfile(columns=made)


def kind_of(values: Values) -> Kind:
    """Numbers are numeric; booleans, texts and everything else are categorical. Missing values do not count.

    >>> kind_of([1, 2.5, None]), kind_of(["a"]), kind_of([True, False])
    ('numeric', 'categorical', 'categorical')
    """
    array = _array(values)
    if array.dtype.kind in "iuf":
        return "numeric"
    if array.dtype.kind != "O":
        return "categorical"
    present = [v for v in array.ravel().tolist() if not _is_missing(v)]
    numbers = bool(present) and all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in present)
    return "numeric" if numbers else "categorical"


def finite(name: str, values: Values) -> tuple[Floats, int]:
    """The finite values of a numeric column, sorted, and the number of others (None, NaN, infinite: all missing).

    Raises:
        BadInput: a value is not a number.
    """
    array = _array(values)
    if array.dtype.kind not in "iufb":
        try:
            array = np.array([np.nan if _is_missing(v) else v for v in array.ravel().tolist()], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise BadInput(
                f"column {name} holds values that are not numbers",
                field=name,
                remedy="name the column categorical, or correct its values",
            ) from error
    numbers = array.astype(np.float64).ravel()
    kept = numbers[np.isfinite(numbers)]
    return np.sort(kept), int(numbers.size - kept.size)


def counted(values: Values) -> tuple[dict[str, int], int]:
    """The counts of a categorical column's values as text, and the number of missing ones.

    >>> counted(["b", "a", None, "b"])
    ({'a': 1, 'b': 2}, 1)
    """
    flat = _array(values).ravel().tolist()
    try:
        raw = Counter(flat)
    except TypeError:  # lists and the like cannot be counted as they are
        raw = Counter(str(value) for value in flat)
    counts: Counter[str] = Counter()
    for value, count in raw.items():
        if not _is_missing(value):
            counts[str(value)] += count
    return dict(sorted(counts.items())), len(flat) - counts.total()


def numeric_profile(name: str, values: Values, *, exact: bool = False) -> NumericProfile:
    """The profile of one numeric column."""
    x, missing = finite(name, values)
    if x.size == 0:
        return NumericProfile(
            n=0, missing=missing, points=(), at_or_below=(), below=(), fence_low=0.0, fence_high=0.0, outliers=0
        )
    points = np.unique(x)
    if not exact and points.size > QUANTILES:
        ranks = np.rint(np.linspace(0, x.size - 1, QUANTILES)).astype(np.int64)
        points = np.unique(x[ranks])
    q1, q3 = np.quantile(x, [0.25, 0.75])
    low, high = q1 - 3.0 * (q3 - q1), q3 + 3.0 * (q3 - q1)
    return NumericProfile(
        n=int(x.size),
        missing=missing,
        points=tuple(points.tolist()),
        at_or_below=tuple(np.searchsorted(x, points, side="right").tolist()),
        below=tuple(np.searchsorted(x, points, side="left").tolist()),
        fence_low=float(low),
        fence_high=float(high),
        outliers=int(((x < low) | (x > high)).sum()),
    )


def categorical_profile(values: Values) -> CategoricalProfile:
    """The profile of one categorical column."""
    counts, missing = counted(values)
    return CategoricalProfile(n=sum(counts.values()), missing=missing, counts=counts)


def _array(values: Values) -> NDArray[Any]:
    return np.asarray(values)


def _is_missing(value: object) -> bool:
    return (
        value is None
        or (isinstance(value, float) and value != value)
        or value.__class__.__name__ in {"NAType", "NaTType"}
    )
